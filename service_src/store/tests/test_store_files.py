"""Every event is in the files exactly once, whatever comes again and wherever a crash is. Counted by pandas."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from band.testing import make_event
from store.engine import Error
from store.event_files import EventFiles, InUse
from store.event_row import UnusableEvent, to_row
from store.options import Options
from store.warehouse import Warehouse

DAY = 1795392000000  # 2026-11-23T00:00:00Z


def event(number: int, day: int = 0, **parts: Any) -> dict[str, Any]:
    at = DAY + day * 86_400_000 + number
    return make_event(**{"id": str(at << 22), "time": at, "data": {"page": {"url": f"https://a.b/{number}"}}} | parts)


def rows(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [to_row(one) for one in events]


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[EventFiles]:
    files = EventFiles(folder, 96)
    try:
        yield files
    finally:
        files.close()


def seen(files: EventFiles) -> list[int]:
    """Return the ids in the files that readers get, by pandas."""
    return sorted(int(number) for path in files.files() for number in pd.read_parquet(path, columns=["id"])["id"])


def ids(*events: dict[str, Any]) -> list[int]:
    return sorted(int(one["id"]) for one in events)


def test_an_event_that_comes_again_is_stored_once(tmp_path: Path) -> None:
    some = [event(number) for number in range(10)]
    with opened(tmp_path) as files:
        assert files.load(rows(*some, some[3])) == 10
        assert files.load(rows(*some[5:], event(11))) == 1
        assert seen(files) == ids(*some, event(11))


def test_events_of_a_large_batch_that_come_twice_in_it_are_stored(tmp_path: Path) -> None:
    """As after an outage, when front's journal gives what the stream has already."""
    some = [event(number, dedup=f"m{number}") for number in range(3000)]
    both = [*some, *some]
    random.Random(5).shuffle(both)  # noqa: S311 - an order, no secret
    with opened(tmp_path) as files:
        assert files.load(rows(*both)) == 3000
        assert seen(files) == ids(*some)


def test_a_message_that_its_client_sent_twice_is_stored_once(tmp_path: Path) -> None:
    with opened(tmp_path) as files:
        first = event(1, dedup="m1")
        assert files.load(rows(first, event(2, dedup="m1"), event(3))) == 2
        assert files.load(rows(event(4, dedup="m1"), event(5, day=1, dedup="m1"))) == 0
        assert files.load(rows(event(6, dedup="m1", project="shop"), event(7, day=2, dedup="m1"))) == 2


def test_sealed_days_know_their_events_and_messages(tmp_path: Path) -> None:
    some = [event(number, dedup=f"m{number}") for number in range(5)]
    with opened(tmp_path) as files:
        files.load(rows(*some, event(0, day=1)))
        sealed = files.seal_before("2026-11-24")
        assert [(file.day, file.number, file.rows) for file in sealed] == [("2026-11-23", 1, 5)]
        assert files.load(rows(*some, event(9, dedup="m2"), event(1, day=1, dedup="m4"))) == 0
        assert files.open_days() == {"2026-11-23": 0, "2026-11-24": 1}
        assert files.load(rows(event(100))) == 1
        assert [file.number for file in files.seal_before("2026-11-24")] == [2]
        assert seen(files) == ids(*some, event(0, day=1), event(100))


def test_everything_is_there_after_a_start(tmp_path: Path) -> None:
    with opened(tmp_path) as files:
        files.load(rows(event(1), event(1, day=1)))
        files.seal_before("2026-11-24")
    with opened(tmp_path) as files:
        assert files.count() == 2
        assert files.load(rows(event(1), event(1, day=1), event(2, day=1))) == 1
        assert seen(files) == ids(event(1), event(1, day=1), event(2, day=1))


async def test_a_disk_that_was_full_cost_no_event(tmp_path: Path) -> None:
    """DuckDB's tables look empty after a checkpoint that failed: its next one would write that over the events."""
    warehouse = Warehouse(Options(folder=str(tmp_path)))
    await warehouse.open()
    limit, highest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (17_500_000, highest))
    given = 0
    try:
        with pytest.raises(Error, match="File too large"):
            while given < 60:
                some = [event(given * 100 + n, data={"x": os.urandom(5_000).hex()}) for n in range(80)]
                await warehouse.load(some)
                given += 1
        with pytest.raises(Error, match="File too large"):
            await warehouse.load(some)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, highest))
    await warehouse.load(some)
    assert warehouse.loaded == (given + 1) * 80
    assert (await warehouse.stats())["events"] == warehouse.loaded
    await warehouse.close()
    with opened(tmp_path) as files:
        assert files.count() == warehouse.loaded


def test_only_one_process_writes(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(InUse, match="one store"):
        EventFiles(tmp_path, 96)


def test_days_that_are_too_old_are_removed(tmp_path: Path) -> None:
    with opened(tmp_path) as files:
        files.load(rows(event(1), event(1, day=1), event(1, day=2)))
        files.seal_before("2026-11-25")
        assert [file.day for file in files.remove_before("2026-11-24")] == ["2026-11-23"]
        assert seen(files) == ids(event(1, day=1), event(1, day=2))
    assert not (tmp_path / "events" / "day=2026-11-23").exists()


@pytest.mark.parametrize(("events", "size", "memory_mb"), [(60_000, 600, Options().memory_mb), (20_000, 3000, 96)])
def test_a_large_day_is_read_and_sealed_in_little_memory(
    tmp_path: Path, events: int, size: int, memory_mb: int
) -> None:
    """In the second case too little to sort the day."""
    (row,) = rows(event(0))
    files = EventFiles(tmp_path, memory_mb)
    for first in range(0, events, 1000):
        numbers = range(first, first + 1000)
        data = [os.urandom(size // 2).hex() for _ in numbers]
        files.load(
            [
                {**row, "id": (DAY + n) << 22, "received": DAY + n, "uid": str(n % 97), "data": text}
                for n, text in zip(numbers, data, strict=True)
            ]
        )
    assert sum(len(pd.read_parquet(path, columns=["id"])) for path in files.files()) == events
    (sealed,) = files.seal_before("2027-01-01")
    assert sealed.rows == events == len(pd.read_parquet(tmp_path / "events" / sealed.path, columns=["id"]))
    files.close()


def test_readers_get_few_files_of_a_busy_day(tmp_path: Path) -> None:
    some = [event(number) for number in range(200)]
    with opened(tmp_path) as files:
        for one in some:
            files.load(rows(one))
            files.files()
        assert len(files.files()) <= 10
        assert seen(files) == ids(*some)


@pytest.mark.parametrize("step", range(1, 13))
def test_a_crash_at_any_step_of_sealing_loses_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The nth call that changes the disk fails, and the process ends there."""
    some = [event(number, dedup=f"m{number}") for number in range(50)]
    reached = 0

    class Crash(BaseException):
        pass

    def failing(real: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal reached
            reached += 1
            if reached == step:
                raise Crash
            return real(*args, **named)

        return call

    with opened(tmp_path) as files:
        files.load(rows(*some))
        files.files()
        with monkeypatch.context() as patch:
            for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "unlink"), (Path, "mkdir")):
                patch.setattr(owner, name, failing(getattr(owner, name)))
            with contextlib.suppress(Crash):
                files.seal_before("2027-01-01")
    with opened(tmp_path) as files:
        assert seen(files) == ids(*some)
        assert files.load(rows(*some)) == 0
        files.seal_before("2027-01-01")
        assert seen(files) == ids(*some)
    assert not list((tmp_path / "hot").iterdir())


def test_the_manifest_says_what_a_file_has(tmp_path: Path) -> None:
    with opened(tmp_path) as files:
        files.load(rows(event(1, time=DAY - 10**10), event(2)))
        files.seal_before("2027-01-01")
    content = msgspec.json.decode((tmp_path / "events" / "manifest.json").read_bytes())
    assert content["schema_version"] == 1
    (file,) = content["files"]
    assert (file["least_time"], file["greatest_time"], file["rows"]) == (DAY - 10**10, DAY + 2, 2)


def test_a_manifest_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "manifest.json").write_text('{"schema_version": 99, "files": []}')
    with pytest.raises(ValueError, match="newer store"):
        EventFiles(tmp_path, 96)


def test_sealed_files_without_a_manifest_are_kept(tmp_path: Path) -> None:
    with opened(tmp_path) as files:
        files.load(rows(event(1)))
        files.seal_before("2027-01-01")
    (tmp_path / "events" / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"manifest\.json is missing"):
        EventFiles(tmp_path, 96)
    assert [path.name for path in (tmp_path / "events").glob("*/*")] == ["0001.parquet"]


def test_an_open_day_that_is_damaged_is_set_aside(tmp_path: Path) -> None:
    """A backup of a store that runs may have a day's file from before a checkpoint, and its log from after it."""
    live, restored = tmp_path / "live", tmp_path / "restored" / "hot"
    restored.mkdir(parents=True)
    with opened(live) as files:
        files.load(rows(event(1), event(1, day=1)))
        shutil.copytree(live / "hot", restored, dirs_exist_ok=True)
        files._connection.execute('CHECKPOINT "2026-11-23-0001"')
        files.load(rows(event(2)))
        shutil.copy(live / "hot" / "2026-11-23-0001.duckdb.wal", restored)
    with opened(tmp_path / "restored") as files:
        assert files.open_days() == {"2026-11-24": 1}
        assert files.load(rows(event(1), event(2), event(1, day=1))) == 2
    aside = [path.name.partition("-0001.")[2].partition("-")[0] for path in restored.glob("*.damaged*")]
    assert sorted(aside) == ["damaged", "damaged"]
    with opened(tmp_path / "restored") as files:
        assert files.count() == 3


def test_a_row_has_what_its_event_says() -> None:
    row = to_row(
        event(
            7, project="shop", projectId=17, dedup="m1", uid="u-1", privacy=["gpc"],
            data={
                "page": {"url": "https://www.a.b/p/1?utm_source=news&utm_campaign=x", "ref": "//c.d/e", "title": "P"},
                "sess": {"num": 3, "marks": {"utm_medium": "mail"}}, "user": {"anonymousId": "a1"},
                "mmgeo": {"country_iso": "SE", "city_en": "Linköping", "region_en": "Östergötland County"},
                "uaparser": {
                    "os_family": "Android", "os_version": [14], "browser_family": "Chrome Mobile",
                    "browser_version": [130, 0, 0], "is_mob": 1, "is_bot": 0, "bot_reason": None,
                },
                "sum": 12.5,
            },
        )
    )  # fmt: skip
    data = msgspec.json.decode(row.pop("data"))
    assert data["sum"] == 12.5
    assert row == {
        "id": (DAY + 7) << 22, "project": "shop", "project_id": "17", "time": DAY + 7,
        "received": DAY + 7, "key": "in.gen.track.page",
        "service": "track", "name": "page", "channel": "http", "uid": "u-1", "anonymous_id": "a1", "session": 3,
        "url_host": "a.b", "url_path": "/p/1", "title": "P", "ref_host": "c.d", "utm_source": "news",
        "utm_medium": "mail", "utm_campaign": "x", "utm_term": "", "utm_content": "", "country": "SE",
        "region": "Östergötland County", "city": "Linköping", "os": "Android", "os_version": "14",
        "browser": "Chrome Mobile", "browser_version": "130.0.0", "device": "mobile", "bot": False, "bot_reason": "",
        "privacy": "gpc", "dedup": "m1", "schema": 1,
    }  # fmt: skip


@pytest.mark.parametrize("number", ["", "x", "-1", "0", str(2**63), "9" * 40, None, 1.5])
def test_an_event_without_an_id_of_fronts_is_refused(number: Any) -> None:
    with pytest.raises(UnusableEvent, match="no id"):
        to_row(make_event(id=number))


def test_an_event_with_odd_values_is_stored_all_the_same(tmp_path: Path) -> None:
    odd = event(
        1, time="soon", uid={"a": 1}, project=7, channel=None,
        data={"page": [1], "sess": {"num": 2**80, "marks": "x"}, "mmgeo": 3, "uaparser": {"os_version": 9}},
    )  # fmt: skip
    with opened(tmp_path) as files:
        assert files.load(rows(odd)) == 1
        assert seen(files) == ids(odd)


def test_of_long_data_the_smaller_fields_are_kept() -> None:
    long = {"x": "я" * 500_000, "y": "z" * 20_000, "sum": 12, "plan": "pro", "list": [1] * 2000}
    row = to_row(event(1, data={**long, "page": {"url": "https://a.b/c"}}))
    kept = {"sum": 12, "plan": "pro", "list": [1] * 2000, "page": {"url": "https://a.b/c"}, "cut": 2}
    assert msgspec.json.decode(row["data"]) == kept
    assert row["url_path"] == "/c"
    many = msgspec.json.decode(to_row(event(1, data={f"f{number}": "z" * 100 for number in range(1000)}))["data"])
    assert len(many) - 1 + many["cut"] == 1000


def test_large_events_do_not_stop_the_store(tmp_path: Path) -> None:
    """Anybody can send them: DuckDB holds 2,048 rows at once in memory, whatever is in them."""
    files = EventFiles(tmp_path, Options().memory_mb)
    for first in range(0, 200, 4):
        data = [{"n": first + n, "x": os.urandom(450_000).hex()} for n in range(4)]
        files.load(rows(*[event(one["n"], data=one) for one in data]))
    assert len(seen(files)) == 200
    assert [file.rows for file in files.seal_before("2027-01-01")] == [200]
    files.close()
