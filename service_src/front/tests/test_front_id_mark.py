"""Ids across restarts: the mark on the disk keeps a front whose clock was set back from drawing the same ones again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from band.testing import capture_logs
from front.event.ids import Snowflakes, time_of
from front.storage import id_mark
from front.storage.id_mark import AHEAD_MS, MAX_AHEAD_MS, RENEW_MS, STEP_MS, IdMark

NOW = 1795470409131


class Host:
    """A host with a clock that can be set, whose fronts come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock, self.uptime = NOW, 1_000_000

    def passes(self, milliseconds: int) -> None:
        self.clock += milliseconds
        self.uptime += milliseconds

    def reboots(self) -> None:
        self.uptime = 5_000

    async def front(self, worker: int = 0) -> tuple[Snowflakes, IdMark]:
        flakes = Snowflakes(worker, lambda: self.clock)
        mark = IdMark(self.folder, worker, flakes, clock=lambda: self.clock, uptime=lambda: self.uptime)
        await mark.read()
        return flakes, mark

    @property
    def marks(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "journal")


async def test_no_id_repeats_after_a_restart_while_the_clock_is_behind(host: Host) -> None:
    """The clock was 30 s ahead and is set back; front ends, is killed say, and draws again until that time and on."""
    drawn: list[int] = []
    flakes, mark = await host.front()
    host.clock += 30_000
    for _ in range(8):
        drawn += [flakes.next() for _ in range(100)]
        await mark.renew()
        host.passes(1000)
    host.clock -= 30_000
    drawn += [flakes.next() for _ in range(5000)]
    await mark.renew()
    host.passes(5000)
    flakes, mark = await host.front()
    for _ in range(40):
        drawn += [flakes.next() for _ in range(100)]
        await mark.renew()
        host.passes(1000)
    assert len(set(drawn)) == len(drawn)
    assert drawn == sorted(drawn)


@pytest.mark.parametrize("back_ms", [STEP_MS, 2000])
@pytest.mark.parametrize("renewed", [True, False])
async def test_a_clock_that_is_set_back_right_before_the_end_repeats_nothing(
    host: Host, *, renewed: bool, back_ms: int
) -> None:
    """Also when front had no time to notice that it was set back; and when the host was rebooted."""
    for reboots in (False, True):
        flakes, mark = await host.front()
        host.passes(3000)
        last = flakes.next()
        await mark.renew()
        host.clock -= back_ms
        if renewed:
            await mark.renew()
        if reboots:
            host.reboots()
        flakes, _ = await host.front()
        assert flakes.next() > last


async def test_an_ordinary_restart_leaves_ids_at_the_clock(host: Host) -> None:
    """Of front, also one that is killed; of the host after the clock has passed the mark, which it mostly has."""
    flakes, mark = await host.front()
    last = flakes.next()
    await mark.renew()
    host.passes(20)
    flakes, _ = await host.front()
    first = flakes.next()
    assert last < first
    assert time_of(first) - host.clock <= STEP_MS + 1
    host.passes(AHEAD_MS + STEP_MS + 1)
    host.reboots()
    flakes, _ = await host.front()
    assert time_of(flakes.next()) == host.clock


async def test_each_worker_has_its_own_mark(host: Host) -> None:
    """One of them, whose clock was read at a wrong time, does not set others ahead."""
    host.clock += 30_000
    await host.front(1)
    host.clock -= 30_000
    flakes, _ = await host.front(2)
    assert time_of(flakes.next()) == NOW
    flakes, _ = await host.front(1)
    assert time_of(flakes.next()) == NOW + 30_000 + AHEAD_MS + 1
    assert sorted(host.marks) == ["ids-1", "ids-2"]


async def test_the_disk_is_written_only_now_and_then(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for every id, nor every second."""
    written: list[int] = []
    monkeypatch.setattr(id_mark.os, "fdatasync", written.append)
    _, mark = await host.front()
    for _ in range(60):
        host.passes(1000)
        await mark.renew()
    assert 60_000 / AHEAD_MS <= len(written) <= 2 + 60_000 / (AHEAD_MS - RENEW_MS)


async def test_ids_that_are_ahead_are_logged(host: Host) -> None:
    """And how far, once ids are ahead by more than a crash of the host explains."""
    host.clock += 3_600_000
    await host.front()
    host.clock -= 3_600_000
    with capture_logs() as logs:
        flakes, _ = await host.front()
    (line,) = [line for line in logs if line["event"] == "ids_ahead_of_clock"]
    assert line["ahead_s"] == (3_600_000 + AHEAD_MS) // 1000
    assert time_of(flakes.next()) > NOW + 3_600_000


async def test_a_mark_that_is_years_ahead_is_ignored(host: Host) -> None:
    """Ids stay valid and near the clock, a warning says so, and the next restart has the right mark again."""
    host.clock += 2 * MAX_AHEAD_MS
    await host.front()
    host.clock -= 2 * MAX_AHEAD_MS
    with capture_logs() as logs:
        flakes, _ = await host.front()
    assert [line["event"] for line in logs] == ["ids_mark_ignored"]
    assert time_of(flakes.next()) == NOW
    with capture_logs() as logs:
        await host.front()
    assert not logs


@pytest.mark.parametrize("content", [b"", b"{", b'{"bound":"x"}', b"\xff" * 64, b'{"bound":-1,"booted":null}'])
async def test_a_damaged_mark_is_replaced(host: Host, content: bytes) -> None:
    """Front starts as without one, and says so."""
    host.folder.mkdir()
    (host.folder / "ids-0").write_bytes(content)
    with capture_logs() as logs:
        flakes, _ = await host.front()
    assert [line["event"] for line in logs] == ["ids_mark_unreadable"]
    assert time_of(flakes.next()) == NOW
    assert host.marks["ids-0"].startswith(b'{"bound":')


async def test_a_disk_that_refuses_is_logged_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are accepted all the same; once the disk accepts it again the mark is written."""
    refuses: Callable[..., Any] = lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))  # noqa: E731
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(id_mark.os, "pwrite", refuses)
        flakes, mark = await host.front()
        for _ in range(3):
            await mark.renew()
    assert [line["event"] for line in logs] == ["ids_mark_unwritable"]
    assert time_of(flakes.next()) == NOW
    await mark.renew()
    assert host.marks["ids-0"].startswith(b'{"bound":')


async def test_a_running_front_renews_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, from `open` to `close`."""
    monkeypatch.setattr(id_mark, "_LOOK_SECONDS", 0.01)
    flakes = Snowflakes(0, lambda: host.clock)
    mark = IdMark(host.folder, 0, flakes, clock=lambda: host.clock, uptime=lambda: host.uptime)
    await mark.open()
    before = host.marks
    host.passes(AHEAD_MS)
    for _ in range(500):
        if host.marks != before:
            break
        await asyncio.sleep(0.01)
    assert host.marks != before
    await mark.close()
