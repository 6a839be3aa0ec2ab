"""The journal and its disk: grouped writes, the bound, disks that refuse, folders of the dead."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from band.redis.link import RedisLink
from front.errors import NotAccepted
from front.storage.journal.disk import Disk
from front.storage.journal.format import Scan, scan
from front.storage.journal.journal import Journal
from front.storage.journal_acceptor import JournalAcceptor
from front.storage.redis_persistence import RedisPersistence
from front.storage.unpersisted import Unpersisted

MEGABYTE = 1024 * 1024


class BadDisk(Disk):
    """A disk that can be told to fail: `fail["sync"] = errno.EIO`."""

    def __init__(self) -> None:
        self.fail: dict[str, int] = {}

    def _maybe(self, call: str) -> None:
        if call in self.fail:
            raise OSError(self.fail[call], os.strerror(self.fail[call]))

    def create(self, path: Path) -> int:
        self._maybe("create")
        return super().create(path)

    def write(self, descriptor: int, data: bytes) -> None:
        if "write" in self.fail:
            super().write(descriptor, data[: len(data) // 2])
        self._maybe("write")
        super().write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        self._maybe("sync")
        super().sync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        self._maybe("truncate")
        super().truncate(descriptor, size)


def opened(root: Path, most: int = MEGABYTE, disk: Disk | None = None, segment_bytes: int = 0) -> Journal:
    journal = Journal(root, most, disk, segment_bytes)
    journal.open()
    return journal


def segments(root: Path) -> list[Path]:
    return sorted(root.rglob("*.journal"))


def run_python(code: str, folder: Path) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    run = subprocess.run([sys.executable, "-c", code, str(folder)], env=env, capture_output=True, text=True, check=True)
    return run.stdout


async def fill(journal: Journal, *texts: bytes) -> None:
    await asyncio.gather(*(journal.append(text, b"") for text in texts))


async def held(journal: Journal) -> list[bytes]:
    """Everything that waits in the journal, in order."""
    return [entry.payload for segment in await journal.sealed() for entry in journal.read(segment).entries]


async def test_those_who_wait_share_one_fsync(tmp_path: Path) -> None:
    """A thousand events at once cost a few writes to the disk, not a thousand; all are there in order."""
    journal = opened(tmp_path)
    texts = [b"%d" % number for number in range(1000)]
    await fill(journal, *texts)
    assert journal._writer.syncs <= 3
    assert journal.depth == 1000
    assert await held(journal) == texts
    await journal.close()


async def test_the_answer_comes_after_the_fsync(tmp_path: Path) -> None:
    """While the disk still works nobody is told that the event is safe."""
    synced: list[int] = []

    class Watching(Disk):
        def sync(self, descriptor: int) -> None:
            super().sync(descriptor)
            synced.append(os.fstat(descriptor).st_size)

    journal = opened(tmp_path, disk=Watching())
    await journal.append(b"x" * 500, b"")
    assert synced[-1] > 500
    await journal.close()


async def test_a_journal_is_bounded(tmp_path: Path) -> None:
    """Beyond its bytes it refuses with a time to come again, never grows, and takes again after a replay."""
    journal = opened(tmp_path, most=20_000)
    taken = 0
    with pytest.raises(NotAccepted) as refused:
        while True:
            await journal.append(b"x" * 400, b"")
            taken += 1
    assert refused.value.retry_after > 0
    assert "full" in refused.value.reason
    assert "full" in journal.refusal() or journal.used_bytes > 19_000
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 20_000
    assert 40 < taken < 50
    for segment in await journal.sealed():
        journal.finish(segment)
        journal.done(segment)
    await journal.append(b"y" * 400, b"")
    await journal.close()


async def test_large_events_are_refused_before_small_ones(tmp_path: Path) -> None:
    """A flood of large events leaves room for what ordinary visitors send; full is one rule for all who ask."""
    journal = opened(tmp_path, most=32 * MEGABYTE)
    with pytest.raises(NotAccepted, match="too full for an event of 100016 bytes"):
        while True:
            await journal.append(b"x" * 100_000, b"")
    assert journal.refusal() == ""
    small = 0
    with pytest.raises(NotAccepted, match="full"):
        while True:
            await fill(journal, *[b"y" * 600] * 100)
            small += 100
    assert small > 4000
    assert journal.refusal() == "the journal is full (32 MiB)"
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 32 * MEGABYTE
    await journal.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", ["create", "write", "sync"])
async def test_a_disk_that_refuses_is_no_success(tmp_path: Path, call: str, code: int) -> None:
    """Full, broken, read-only at any call: NotAccepted that says so; what was safe stays, half records do not."""
    disk = BadDisk()
    journal = opened(tmp_path, disk=disk, segment_bytes=4096)
    await fill(journal, b"before")
    if call == "create":
        await journal.sealed()
    disk.fail[call] = code
    with pytest.raises(NotAccepted, match=os.strerror(code)):
        await journal.append(b"refused", b"")
    assert os.strerror(code) in journal.trouble
    disk.fail.clear()
    await fill(journal, b"after")
    assert journal.trouble == ""
    assert await held(journal) == [b"before", b"after"]
    await journal.close()
    again = opened(tmp_path)
    assert await held(again) == [b"before", b"after"]
    await again.close()


async def test_an_error_that_nobody_thought_of_keeps_nobody_waiting(tmp_path: Path) -> None:
    """No memory, a bug, whatever: a refusal like any other, not a client that hangs; then it goes on."""
    disk = BadDisk()
    journal = opened(tmp_path, disk=disk)
    await fill(journal, b"before")
    disk.sync = lambda _: 1 // 0  # type: ignore[method-assign, assignment, return-value]
    async with asyncio.timeout(2):
        with pytest.raises(NotAccepted, match="division"):
            await journal.append(b"refused", b"")
    del disk.sync
    await fill(journal, b"after")
    assert await held(journal) == [b"before", b"after"]
    await journal.close()


async def test_a_disk_that_cannot_even_cut_back_does_not_bring_back_the_refused(tmp_path: Path) -> None:
    """The refused record may stay in the file; this process does not read it."""
    disk = BadDisk()
    journal = opened(tmp_path, disk=disk)
    await fill(journal, b"before")
    disk.fail.update(sync=errno.EIO, truncate=errno.EIO)
    with pytest.raises(NotAccepted):
        await journal.append(b"refused", b"")
    disk.fail.clear()
    await fill(journal, b"after")
    assert await held(journal) == [b"before", b"after"]
    await journal.close()


async def test_a_real_limit_of_the_kernel_is_met_in_the_same_way(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for a full disk: the write is cut short by the kernel, the promise is not."""
    code = textwrap.dedent(
        """
        import asyncio, resource, sys
        from pathlib import Path
        from front.errors import NotAccepted
        from front.storage.journal.journal import Journal

        async def main():
            journal = Journal(Path(sys.argv[1]), 1 << 20, segment_bytes=1 << 20)
            journal.open()
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
            for number in range(100):
                try:
                    await journal.append(b"%03d" % number + b"x" * 400, b"")
                except NotAccepted:
                    continue
                print(number)

        asyncio.run(main())
        """
    )
    promised = [int(line) for line in (await asyncio.to_thread(run_python, code, tmp_path)).split()]
    assert len(promised) > 20
    journal = opened(tmp_path)
    assert [int(text[:3]) for text in await held(journal)] == promised
    await journal.close()


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """No folder, no journal: refusals with the reason, no exception at the start."""
    (tmp_path / "file").write_text("in the way")
    journal = Journal(tmp_path / "file", MEGABYTE)
    journal.open()
    assert "cannot be used" in journal.trouble
    with pytest.raises(NotAccepted, match="cannot be used"):
        await journal.append(b"x", b"")
    await journal.close()


async def test_a_folder_that_can_be_made_later_is_taken_then(tmp_path: Path) -> None:
    """No restart is needed: the next try takes the folder, with what lies there, and lets go of none it cannot read."""
    before = opened(tmp_path / "journal")
    await fill(before, b"left")
    await before.close()
    root = tmp_path / "file"
    root.write_text("in the way")
    journal = opened(root)
    await journal.try_disk()
    assert "cannot be used" in journal.trouble
    root.unlink()
    (tmp_path / "journal").rename(root)
    (root / "w0" / "1-1-x.journal").mkdir()  # it can be listed and not read
    await journal.try_disk()
    assert "cannot be used" in journal.trouble
    (root / "w0" / "1-1-x.journal").rmdir()
    await journal.try_disk()
    assert journal.trouble == ""
    await fill(journal, b"new")
    assert await held(journal) == [b"left", b"new"]
    assert sorted(path.name for path in root.iterdir()) == ["w0"]
    await journal.close()


@pytest.mark.parametrize("call", ["create", "write"])
async def test_a_disk_is_tried_without_an_event(tmp_path: Path, call: str) -> None:
    """What it refuses is known before an event needs it; no event is refused for that, and no file stays."""
    disk = BadDisk()
    journal = opened(tmp_path, disk=disk)
    await journal.try_disk()
    assert journal.trouble == ""
    disk.fail[call] = errno.EACCES
    await journal.try_disk()
    assert journal.trouble == "the journal's disk cannot be written: Permission denied"
    assert journal.refusal() == ""
    disk.fail.clear()
    await journal.try_disk()
    assert journal.trouble == ""
    assert [path.name for path in (tmp_path / "w0").iterdir()] == ["lock"]
    await journal.close()


async def test_a_disk_that_refused_is_tried_up_to_the_fsync(tmp_path: Path) -> None:
    """A file that can be written is no proof that it is safe: where the fsync failed, the fsync has to succeed."""
    disk = BadDisk()
    journal = opened(tmp_path, disk=disk)
    disk.fail["sync"] = errno.EIO
    await journal.try_disk()
    assert journal.trouble == ""  # a disk that is well is spared the fsync
    with pytest.raises(NotAccepted):
        await journal.append(b"refused", b"")
    await journal.try_disk()
    assert os.strerror(errno.EIO) in journal.trouble
    disk.fail.clear()
    await journal.try_disk()
    assert journal.trouble == ""
    await journal.close()


async def test_health_follows_the_disk_without_any_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the start on, and when it is mended; the log has one line for each."""
    monkeypatch.setattr("front.storage.journal_acceptor._TRY_REFUSING_SECONDS", 0.02)
    monkeypatch.setattr("front.storage.journal_acceptor._TRY_SECONDS", 0.05)
    disk = BadDisk()
    disk.fail["create"] = errno.EACCES
    link = RedisLink("none")
    journal = Journal(tmp_path, MEGABYTE, disk)
    acceptor = JournalAcceptor(AnyStream(), journal, link, RedisPersistence(link, 1000), Unpersisted())

    async def status(expected: str) -> None:
        async with asyncio.timeout(5):
            while acceptor.health()["status"] != expected:  # noqa: ASYNC110 - the disk is another task's
                await asyncio.sleep(0.01)

    await acceptor.open()
    assert acceptor.health()["status"] == "degraded"
    assert "Permission denied" in acceptor.health()["reason"]
    await asyncio.sleep(0.1)
    disk.fail.clear()
    await status("ok")
    disk.fail["create"] = errno.EROFS
    await status("degraded")
    await acceptor.close()
    assert re.findall("journal_(?:un)?usable", capsys.readouterr().out) == [
        "journal_unusable", "journal_usable", "journal_unusable",
    ]  # fmt: skip


async def test_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    """Two at once have two folders; neither touches what the other holds."""
    first, second = opened(tmp_path), opened(tmp_path)
    await fill(first, b"1")
    await fill(second, b"2")
    assert await second.adopt() == await first.adopt() == 0
    assert (await held(first), await held(second)) == ([b"1"], [b"2"])
    await first.close()
    await second.close()


async def test_what_the_dead_left_is_taken_over(tmp_path: Path) -> None:
    """The next process in a folder has its backlog; a folder without a process is adopted, under the same key."""
    first, second = opened(tmp_path), opened(tmp_path)
    await fill(first, b"1", b"2")
    await fill(second, b"3")
    keys = {segment.key for journal in (first, second) for segment in await journal.sealed()}
    await second.close()
    await first.close()
    third = opened(tmp_path)
    await fill(third, b"4")
    assert await held(third) == [b"1", b"2", b"3", b"4"]
    assert keys < {segment.key for segment in await third.sealed()}
    await third.close()
    fourth = opened(tmp_path)
    assert await held(fourth) == [b"1", b"2", b"3", b"4"]
    await fourth.close()


async def test_what_lies_there_is_read_off_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """256 MiB of a dead process take a second to read: meanwhile the loop serves visitors, at a start and later."""
    readers: list[threading.Thread] = []

    def watched(data: bytes) -> Scan:
        readers.append(threading.current_thread())
        return scan(data)

    first, second, third = (opened(tmp_path) for _ in range(3))
    for journal in (first, second):
        await fill(journal, b"x")
    await first.close()
    monkeypatch.setattr("front.storage.journal.journal.scan", watched)
    link = RedisLink("none")
    acceptor = JournalAcceptor(
        NoStream(), Journal(tmp_path, MEGABYTE), link, RedisPersistence(link, 1000), Unpersisted()
    )
    await acceptor.open()
    assert len(readers) == 1
    await second.close()
    assert await third.adopt() == 1
    assert len(readers) == 2
    assert threading.main_thread() not in readers
    await acceptor.close()
    await third.close()


class NoStream:
    """A straight way that is never there."""

    async def accept(self, payload: bytes, trace: bytes) -> None:
        raise NotAccepted("there is no stream")

    def refusal(self) -> str:
        return "there is no stream"


class AnyStream(NoStream):
    """A straight way that refuses nothing."""

    def refusal(self) -> str:
        return ""


async def test_damaged_records_are_kept_aside(tmp_path: Path) -> None:
    """A spoilt record in the middle is skipped, counted and kept; the others are read."""
    journal = opened(tmp_path)
    for text in (b"first" * 20, b"second" * 20, b"third" * 20):
        await journal.append(text, b"")
    await journal.close()
    (path,) = segments(tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(b"second") + 3] ^= 1
    path.write_bytes(data + b"\xff\xfetorn")
    journal = opened(tmp_path)
    assert await held(journal) == [b"first" * 20, b"third" * 20]
    assert (journal.damaged, journal.torn) == (1, 1)
    (aside,) = (tmp_path / "w0" / "damaged").iterdir()
    assert b"sec" in aside.read_bytes()
    link = RedisLink("none")
    acceptor = JournalAcceptor(AnyStream(), journal, link, RedisPersistence(link, 1000), Unpersisted())
    health = acceptor.health()
    assert (health["status"], health["damaged"]) == ("degraded", 1)
    assert "w*/damaged" in health["hint"]
    await journal.close()


KILLED = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from front.storage.journal.journal import Journal

    async def main():
        journal = Journal(Path(sys.argv[1]), 1 << 26, segment_bytes=8192)
        journal.open()

        async def one(worker):
            number = 0
            while True:
                await journal.append(b"%d:%d:" % (worker, number) + b"x" * 200, b"{}")
                sys.stdout.write(f"{worker}:{number}\\n")
                sys.stdout.flush()
                number += 1

        await asyncio.gather(*map(one, range(8)))

    asyncio.run(main())
    """
)


@pytest.fixture
def kill_after(tmp_path: Path) -> Callable[[int], list[str]]:
    """Runs a process that writes for ever, kills it when it promised so many, and returns what it promised."""

    def run(count: int) -> list[str]:
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], env=env, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        promised = [process.stdout.readline().strip() for _ in range(count)]
        process.kill()
        rest = process.stdout.read()
        process.stdout.close()
        process.wait()
        return promised + rest.split("\n")[:-1]

    return run


async def test_a_killed_process_keeps_its_promises(tmp_path: Path, kill_after: Callable[[int], list[str]]) -> None:
    """kill -9 at many points in the middle of writes: what was promised is there, once, in the order of each writer."""
    promised: list[str] = []
    for count in (1, 2, 3, 5, 9, 17, 40, 90, 200, 333):
        promised = await asyncio.to_thread(kill_after, count)
        journal = opened(tmp_path)
        found = [text.rsplit(b":", 1)[0].decode() for text in await held(journal)]
        assert len(set(found)) == len(found)
        assert set(promised) <= set(found), count
        for worker in range(8):
            numbers = [int(text.split(":")[1]) for text in found if text.startswith(f"{worker}:")]
            assert numbers == list(range(len(numbers)))
        for segment in await journal.sealed():
            journal.finish(segment)
            journal.done(segment)
        journal.remove_replayed(at_once=True)
        await journal.close()
