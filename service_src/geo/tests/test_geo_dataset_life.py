"""A managed data file through its life: first fetch, refresh, damage, restart, no network, swap under load."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from errno import ENOSPC
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from band.telemetry.metrics import Metrics
from geo.dataset import (
    BadData,
    Dataset,
    Fetched,
    File,
    Loaded,
    NotChecked,
    Source,
    Url,
    Validator,
    Visit,
    WrongChecksum,
)

OLD, NEW, BAD = b"good 1", b"good 2", b"rubbish"


def load(path: Path) -> Loaded[bytes]:
    """A data file is good when it begins so; its number is the day of its build."""
    data = path.read_bytes()
    if not data.startswith(b"good "):
        raise BadData(f"it begins with {data[:3]!r}")
    return Loaded(data, datetime(2026, 1, int(data[5:6]), tzinfo=UTC), {"length": len(data)})


class Host:
    """A web host with one file, its ETag, and troubles on request."""

    def __init__(self) -> None:
        self.body, self.etag, self.status, self.half = OLD, '"1"', 200, False
        self.sent: list[int] = []
        self.url = ""

    async def file(self, request: web.Request) -> web.StreamResponse:
        if self.status != 200:
            return web.Response(status=self.status, text="out of order")
        if self.etag and request.headers.get("If-None-Match") == self.etag:
            self.sent.append(304)
            return web.Response(status=304)
        self.sent.append(200)
        headers = {"ETag": self.etag} if self.etag else {}
        if not self.half:
            return web.Response(body=self.body, headers=headers)
        response = web.StreamResponse(headers={**headers, "Content-Length": str(len(self.body) + 100)})
        await response.prepare(request)
        await response.write(self.body)
        assert request.transport is not None
        request.transport.abort()
        return response


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    app = web.Application()
    app.router.add_get("/data", host.file)
    async with TestServer(app) as server:
        host.url = str(server.make_url("/data"))
        yield host


def dataset(tmp_path: Path, *sources: Source) -> Dataset[bytes]:
    return Dataset("test", tmp_path / "volume" / "data.bin", sources, load)


def state(tmp_path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((tmp_path / "volume" / "data.bin.json").read_text())
    return found


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, at most 10 s."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


async def test_first_fetch_and_its_facts(tmp_path: Path, host: Host) -> None:
    """Before: degraded, with the reason. After: the value, and where it is from, how old, how large."""
    data = dataset(tmp_path, Url(host.url))
    assert data.health() == {"status": "degraded", "reason": "no database yet"}
    assert await data.refresh()
    facts = data.health()
    assert (data.value, data.source, data.build_date) == (OLD, "url", "2026-01-01")
    assert facts["status"] == "ok" and facts["origin"] == host.url and facts["size"] == len(OLD)
    assert facts["length"] == len(OLD) and facts["age_days"] > 0 and facts["next_check"] and not facts["last_error"]


@pytest.mark.parametrize("length", [True, False])
async def test_health_tells_of_a_download_in_progress(tmp_path: Path, length: bool) -> None:
    """The source, MB of how many if the server says so, then the check; nothing of the URL, nothing afterwards."""
    half, checking = asyncio.Event(), threading.Event()
    body = OLD + bytes(3_000_000 - len(OLD))

    async def slowly(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(body) if length else None
        await response.prepare(request)
        await response.write(body[:1_000_000])
        await half.wait()
        await response.write(body[1_000_000:])
        return response

    def check(_path: Path) -> None:
        assert checking.wait(10)

    app = web.Application()
    app.router.add_get("/canary/data", slowly)
    async with TestServer(app) as server:
        url = str(server.make_url("/canary/data?key=canary").with_user("me").with_password("canary"))
        data = Dataset("test", tmp_path / "volume" / "data.bin", [Url(url)], load, check)
        fetching = asyncio.create_task(data.refresh())
        told = f"downloading from url, 1{' of 3' if length else ''} MB"
        await until(lambda: data.health().get("download") == told)
        assert data.health()["reason"] == f"no database yet; {told}"
        assert "canary" not in json.dumps(data.health())
        half.set()
        await until(lambda: data.health().get("download") == "checking the file from url")
        checking.set()
        assert await fetching
    assert "download" not in data.health()


async def test_never_downloads_what_it_has(tmp_path: Path, host: Host) -> None:
    """The second question is conditional, also after a restart."""
    for number in range(3):
        data = dataset(tmp_path, Url(host.url))
        await data.open()
        assert await data.refresh() is (number == 0)
    assert host.sent == [200, 304, 304]


async def test_a_host_without_etags_costs_no_new_install(tmp_path: Path, host: Host) -> None:
    """Where the host knows no conditional requests, the same bytes are recognized."""
    host.etag = ""
    data = dataset(tmp_path, Url(host.url))
    assert [await data.refresh(), await data.refresh()] == [True, False]


async def test_a_new_file_takes_the_place_of_the_old(tmp_path: Path, host: Host) -> None:
    """After a refresh the new value serves and lies on the volume."""
    data = dataset(tmp_path, Url(host.url))
    await data.refresh()
    host.body, host.etag = NEW, '"2"'
    assert await data.refresh()
    assert data.value == NEW and (tmp_path / "volume" / "data.bin").read_bytes() == NEW
    assert data.build_date == "2026-01-02"


async def test_a_bad_file_is_put_aside_once(tmp_path: Path, host: Host) -> None:
    """The old value serves on, the bad file stays for inspection, and it is not downloaded again while it is bad."""
    data = dataset(tmp_path, Url(host.url))
    await data.refresh()
    host.body, host.etag = BAD, '"2"'
    assert not await data.refresh()
    assert data.value == OLD and (tmp_path / "volume" / "data.bin.broken").read_bytes() == BAD
    assert not await data.refresh()
    assert host.sent == [200, 200, 304]
    assert "refused" in data.health()["errors"]["url"]
    host.body, host.etag = NEW, '"3"'
    assert await data.refresh()
    assert data.value == NEW


async def test_a_bad_archive_is_put_aside_once(tmp_path: Path, host: Host) -> None:
    """What is no whole archive is kept for inspection and remembered like what cannot be opened."""
    host.body = gzip.compress(OLD)[:-6]
    data = dataset(tmp_path, Url(host.url))
    assert [await data.refresh(), await data.refresh()] == [False, False]
    assert host.sent == [200, 304]
    assert (tmp_path / "volume" / "data.bin.broken").read_bytes() == host.body
    assert "still has the file that was refused: the archive is damaged" in data.health()["errors"]["url"]


async def test_a_refusal_outlives_a_restart(tmp_path: Path, host: Host) -> None:
    """Also where there is no other file yet, and where an operator lays one of their own in its place."""
    host.body = BAD
    await dataset(tmp_path, Url(host.url)).refresh()
    again = dataset(tmp_path, Url(host.url))
    await again.open()
    assert not await again.refresh()
    (tmp_path / "volume" / "data.bin").write_bytes(NEW)
    local = dataset(tmp_path, Url(host.url))
    assert await local.open() and not await local.refresh()
    assert (local.value, host.sent) == (NEW, [200, 304, 304])


class Promising:
    """A source that promises another file than it sends, the first time."""

    name = "promising"

    def __init__(self, *bodies: bytes) -> None:
        self._bodies = iter(bodies)

    def disabled(self) -> str:
        return ""

    async def fetch(self, visit: Visit) -> Fetched | None:
        path = visit.folder / "sent"
        path.write_bytes(next(self._bodies))

        def unpacked(path: Path) -> Path:
            if path.read_bytes() != OLD:
                raise WrongChecksum("another was promised")
            return path

        return Fetched(path, "promising", Validator(mark="the same"), unpacked)


async def test_what_was_not_promised_is_asked_for_again(tmp_path: Path) -> None:
    """A wrong checksum says nothing of the right file: the wrong one is put aside, the right one taken later."""
    data = dataset(tmp_path, Promising(BAD, OLD))
    assert not await data.refresh()
    assert (tmp_path / "volume" / "data.bin.broken").read_bytes() == BAD
    assert await data.refresh()
    assert data.value == OLD


class Faulty:
    """A source with a fault of its own."""

    name = "faulty"

    def disabled(self) -> str:
        return ""

    async def fetch(self, visit: Visit) -> Fetched | None:
        raise KeyError("s3cret")


async def test_a_fault_of_one_source_stops_no_other(tmp_path: Path, host: Host) -> None:
    """What nobody foresaw is told by its kind and place, not by its text, and the next source is asked."""
    data = dataset(tmp_path, Faulty(), Url("no url"), Url(host.url, name="good"))
    assert await data.refresh()
    told = data.health()["errors"]
    assert data.value == OLD and told["faulty"].startswith("KeyError at ") and "s3cret" not in str(told)
    assert "does not begin with http" in told["url"]


async def test_a_crash_after_the_swap_costs_no_download(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is known for what it is, even if the process ended right after the new file took its place."""

    class Killed(BaseException):
        pass

    def killed(_path: Path) -> None:
        if (tmp_path / "volume" / "data.bin").exists():
            raise Killed

    data = dataset(tmp_path, Url(host.url))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr("geo.dataset.store._sync", killed)
        await data.refresh()
    data = dataset(tmp_path, Url(host.url))
    await data.open()
    assert (data.value, data.source) == (OLD, "url")
    assert not await data.refresh()
    assert host.sent == [200, 304]


async def test_a_file_that_cannot_take_its_place(tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename that fails is the volume's fault: told, the old file serves as what it is, the new one comes later."""
    data = dataset(tmp_path, Url(host.url))
    await data.refresh()
    host.body, host.etag = NEW, '"2"'

    def refused(_self: Path, _target: Path) -> Path:
        raise OSError(ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("geo.dataset.store.Path.replace", refused)
        assert not await data.refresh()
    facts = data.health()
    assert "No space left" in facts["errors"]["volume"] and facts["build_date"] == "2026-01-01"
    assert await data.refresh()
    assert data.value == NEW


async def test_source_and_age_among_the_metrics(tmp_path: Path, host: Host) -> None:
    """Whether there is data, how old, from which source; each dataset of a service under its own name."""
    metrics = Metrics()

    def shown() -> set[str]:
        return {line for line in metrics.render().decode().splitlines() if line.startswith("band_networks_")}

    data = dataset(tmp_path, Url(host.url), Url("", name="other"))
    data.show(metrics, "networks")
    before = {"band_networks_ready 0.0", 'band_networks_source{source="url"} 0.0'}
    assert before <= shown()
    await data.refresh()
    days = data.health()["age_days"]
    after = {
        "band_networks_ready 1.0",
        'band_networks_source{source="url"} 1.0',
        'band_networks_source{source="other"} 0.0',
    }
    assert (
        after | {'band_networks_source_requests_total{result="new"} 1.0', f"band_networks_age_days {days}"} <= shown()
    )
    assert "band_networks_questions_new_total 1.0" in shown()


@pytest.mark.parametrize("trouble", ["half", "500", "gone"])
async def test_the_old_file_serves_through_trouble(tmp_path: Path, host: Host, trouble: str) -> None:
    """Half a body, a failing host, and no host at all are told; the value stays, the next check comes sooner."""
    data = dataset(tmp_path, Url(host.url))
    await data.refresh()
    host.body, host.etag = NEW, '"2"'
    host.half = trouble == "half"
    host.status = 500 if trouble == "500" else 200
    if trouble == "gone":
        data = dataset(tmp_path, Url(f"http://127.0.0.1:{unused_port()}/data"))
        await data.open()
    assert not await data.refresh()
    assert data.value == OLD and data.health()["status"] == "ok" and data.health()["last_error"]
    wait = datetime.fromisoformat(str(state(tmp_path)["next_check"])) - datetime.now(UTC)
    assert wait < timedelta(hours=1)
    assert not [entry.name for entry in (tmp_path / "volume").iterdir() if "work" in entry.name]


async def test_sources_are_asked_in_order(tmp_path: Path, host: Host) -> None:
    """A source in trouble gives way to the next; a better one takes over when it is back; a worse one never does."""
    floor = tmp_path / "floor.bin"
    floor.write_bytes(OLD)
    host.status = 503
    data = dataset(tmp_path, Url(host.url), File(floor))
    assert await data.refresh()
    assert data.source == "file" and "503" in data.health()["errors"]["url"]
    host.status, host.body = 200, NEW
    assert await data.refresh()
    assert (data.source, data.value) == ("url", NEW)
    host.status = 503
    assert not await data.refresh()
    assert (data.source, data.value) == ("url", NEW)


async def test_no_source_at_all(tmp_path: Path) -> None:
    """Without one usable source there is a clear state, and no error is raised."""
    data = dataset(tmp_path, Url(""), File(tmp_path / "absent"))
    assert not await data.refresh()
    facts = data.health()
    assert facts["status"] == "degraded" and facts["reason"] == "no database yet"
    assert facts["disabled"] == {"url": "no URL is set"} and "does not exist" in facts["errors"]["file"]


async def test_restart_opens_what_is_there(tmp_path: Path, host: Host) -> None:
    """After a restart the value is there before anybody is asked, and no question comes before its time."""
    await dataset(tmp_path, Url(host.url)).refresh()
    data = dataset(tmp_path, Url(host.url))
    task = asyncio.create_task(data.run())
    await until(lambda: data.value is not None)
    await asyncio.sleep(0.05)
    assert data.value == OLD and host.sent == [200]
    data.wake()
    await until(lambda: host.sent == [200, 304])
    task.cancel()


async def test_changed_settings_are_not_made_to_wait(tmp_path: Path, host: Host) -> None:
    """A source that is set since the last check is asked at the start, not at the end of the day."""
    floor = tmp_path / "floor.bin"
    floor.write_bytes(OLD)
    await dataset(tmp_path, Url(""), File(floor)).refresh()
    host.body = NEW
    data = dataset(tmp_path, Url(host.url), File(floor))
    task = asyncio.create_task(data.run())
    await until(lambda: data.value == NEW)
    task.cancel()


async def test_a_damaged_file_on_the_volume(tmp_path: Path, host: Host) -> None:
    """What was cut or overwritten since is put aside and fetched anew, although the host says "not modified"."""
    await dataset(tmp_path, Url(host.url)).refresh()
    (tmp_path / "volume" / "data.bin").write_bytes(BAD)
    data = dataset(tmp_path, Url(host.url))
    assert not await data.open()
    assert data.health()["status"] == "degraded" and "begins with" in data.health()["reason"]
    assert await data.refresh()
    assert data.value == OLD and (tmp_path / "volume" / "data.bin.broken").read_bytes() == BAD


async def test_a_removed_file_is_fetched_anew(tmp_path: Path, host: Host) -> None:
    """Remembered ETags are forgotten with the file that they belonged to."""
    await dataset(tmp_path, Url(host.url)).refresh()
    (tmp_path / "volume" / "data.bin").unlink()
    data = dataset(tmp_path, Url(host.url))
    await data.open()
    assert await data.refresh()
    assert host.sent == [200, 200]


async def test_an_operators_own_file_is_told_apart(tmp_path: Path, host: Host) -> None:
    """A file laid over ours by hand serves, and health does not claim that it came from the source."""
    await dataset(tmp_path, Url(host.url)).refresh()
    (tmp_path / "volume" / "data.bin").write_bytes(NEW)
    data = dataset(tmp_path)
    assert await data.open()
    assert (data.value, data.source) == (NEW, "local")


async def test_unreadable_state_is_no_obstacle(tmp_path: Path, host: Host) -> None:
    """All in the state can be learned again."""
    await dataset(tmp_path, Url(host.url)).refresh()
    (tmp_path / "volume" / "data.bin.json").write_text("{half")
    data = dataset(tmp_path, Url(host.url))
    assert await data.open()
    assert data.value == OLD


async def test_a_volume_that_cannot_be_written(tmp_path: Path, host: Host) -> None:
    """A path that is no folder is told in health; the service lives."""
    (tmp_path / "volume").write_text("a file")
    data = dataset(tmp_path, Url(host.url))
    assert not await data.refresh()
    assert data.health()["status"] == "degraded" and "volume" in data.health()["reason"]


async def test_calls_see_a_whole_value_during_swaps(tmp_path: Path, host: Host) -> None:
    """While new files come in, each look-up sees the old value or the new one, and never waits."""
    data = dataset(tmp_path, Url(host.url))
    await data.refresh()
    seen: set[bytes | None] = set()

    async def look() -> None:
        while True:
            seen.add(data.value)
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    for number in range(2, 7):
        host.body, host.etag = b"good %d" % number, f'"{number}"'
        assert await data.refresh()
    await asyncio.sleep(0.01)
    looking.cancel()
    assert seen == {b"good %d" % number for number in range(1, 7)}


async def test_archives_are_unpacked_on_the_way(tmp_path: Path, host: Host) -> None:
    """A gzip file arrives unpacked; a truncated one is refused as damaged."""
    host.body = gzip.compress(OLD)
    data = dataset(tmp_path, Url(host.url))
    assert await data.refresh()
    assert data.value == OLD
    host.body, host.etag = gzip.compress(NEW)[:-6], '"2"'
    assert not await data.refresh()
    assert "archive is damaged" in data.health()["errors"]["url"]


async def test_old_data_is_warned_of(tmp_path: Path, host: Host) -> None:
    """Data older than stale_days serves with a warning that says how old."""
    data = Dataset("test", tmp_path / "volume" / "data.bin", [Url(host.url)], load, stale_days=1.0)
    await data.refresh()
    facts = data.health()
    assert facts["status"] == "ok" and "months old" in facts["warning"]


async def test_a_file_is_checked_once(tmp_path: Path) -> None:
    """A new file, one that an operator laid there, and one of a release without checks; not at each start."""
    own, checked = tmp_path / "own.bin", list[bytes]()
    own.write_bytes(OLD)

    def check(path: Path) -> None:
        checked.append(path.read_bytes())
        if path.read_bytes() == b"good 0":
            raise BadData("its inside is rotten")

    def started() -> Dataset[bytes]:
        return Dataset("test", tmp_path / "volume" / "data.bin", [File(own)], load, check)

    assert await started().refresh() and checked == [OLD]
    assert await started().open() and checked == [OLD]
    (tmp_path / "volume" / "data.bin").write_bytes(NEW)
    assert await started().open() and await started().open() and checked == [OLD, NEW]
    state = tmp_path / "volume" / "data.bin.json"
    state.write_text(state.read_text().replace('"checked": true', '"checked": false'))
    assert await started().open() and await started().open() and checked == [OLD, NEW, NEW]
    (tmp_path / "volume" / "data.bin").write_bytes(b"good 0")
    again = started()
    assert not await again.open() and "rotten" in again.health()["reason"]
    assert (tmp_path / "volume" / "data.bin.broken").read_bytes() == b"good 0"


async def test_a_slow_check_outlives_who_waits_for_it(tmp_path: Path) -> None:
    """A start that does not wait for the check leaves it running; who opens the file meanwhile waits for the same."""
    own, free, checks = tmp_path / "own.bin", threading.Event(), list[Path]()
    own.write_bytes(OLD)

    def check(path: Path) -> None:
        checks.append(path)
        assert free.wait(30)

    slow = Dataset("test", own, [], load, check)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(slow.open(), 0.01)
    again = asyncio.create_task(slow.open())
    await asyncio.sleep(0)
    assert slow.value is None
    free.set()
    assert await again and slow.value == OLD and len(checks) == 1


async def test_a_check_that_came_to_no_end_says_nothing_of_the_file(tmp_path: Path, host: Host) -> None:
    """A new file is neither put aside nor remembered as refused; one that is there is opened later."""
    verdicts = [False, True, False, False, True]

    def check(_path: Path) -> None:
        if not verdicts.pop(0):
            raise NotChecked("the check was ended")

    def started() -> Dataset[bytes]:
        return Dataset("test", tmp_path / "volume" / "data.bin", [Url(host.url)], load, check)

    new = started()
    assert not await new.refresh() and new.health()["errors"] == {"url": "the check was ended"}
    assert await new.refresh() and new.value == OLD
    state = tmp_path / "volume" / "data.bin.json"
    state.write_text(state.read_text().replace('"checked": true', '"checked": false'))
    again = started()
    assert not await again.open() and again.health()["reason"].endswith("the check was ended")
    assert not await again.refresh() and "was ended" in again.health()["errors"]["data.bin"]
    assert not await again.refresh() and again.value == OLD and not again.health()["errors"]
    assert not (tmp_path / "volume" / "data.bin.broken").exists() and not verdicts
