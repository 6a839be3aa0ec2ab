"""Building: the command as a value, the reading of progress, and the runner with a stand-in for the CLI."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from director.errors import BuildFailed
from director.images.buildkit import Builder, BuildLog, BuildRequest, build_command

REQUEST = BuildRequest(tag="ns/one:abc", base_image="base:1", labels={"b": "2", "a": "1 $(x)"})


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 5 s")


def fake_cli(folder: Path, body: str) -> str:
    path = folder / "docker"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_the_command_is_an_argument_list() -> None:
    """Every value is one word of its own: there is no shell to hand anything to."""
    assert build_command(REQUEST) == [
        "docker", "buildx", "build", "--progress=plain", "--load", "--provenance=false", "--tag=ns/one:abc",
        "--label=a=1 $(x)", "--label=b=2", "--build-arg=BASE_CONTAINER=base:1", "-",
    ]  # fmt: skip
    assert "--no-cache" in build_command(BuildRequest(tag="t", base_image="b", nocache=True))


def test_progress_knows_the_step_that_failed() -> None:
    """Of interleaved steps, the failing one's title and lines are given, without BuildKit's times."""
    progress = BuildLog()
    for line in (
        "#1 [internal] load build definition", "#5 [2/3] RUN pip install x", "#6 [other] COPY",
        "#5 0.412 Collecting x", "#6 DONE 0.0s", "#5 1.9 ERROR: no such package", "",
        "#5 ERROR: process did not complete successfully: exit code: 1", "------",
    ):  # fmt: skip
        progress.feed(line)
    title, lines = progress.failure()
    assert title == "[2/3] RUN pip install x"
    assert lines[:2] == ["Collecting x", "ERROR: no such package"]


def test_without_a_failed_step_the_last_lines_are_given() -> None:
    """When the CLI itself fails, its own words are what there is."""
    progress = BuildLog()
    progress.feed("ERROR: Cannot connect to the Docker daemon")
    assert progress.failure() == ("", ["ERROR: Cannot connect to the Docker daemon"])


def test_what_a_build_prints_is_told_without_passwords_and_within_bounds() -> None:
    """An index with a password stands in many a pip message, and a step may print without a line end."""
    progress = BuildLog()
    for line in (
        "#1 [1/1] RUN pip",
        "#1 0.1 Looking in https://user:canary@index/x",
        "#1 0.2 " + "x" * 900_000,
        "#1 ERROR",
    ):
        progress.feed(line)
    _, lines = progress.failure()
    assert lines[0] == "Looking in https://user:***@index/x"
    assert len(lines[1]) < 10_000


async def test_the_context_goes_in_and_lines_come_out(tmp_path: Path) -> None:
    """The tar arrives on standard input, and each line of progress reaches the log."""
    cli = fake_cli(tmp_path, f"cat > {tmp_path}/got; echo '#1 [1/1] FROM'; echo '#1 DONE'")
    lines: list[str] = []
    await Builder(docker=cli).build(REQUEST, b"x" * 300_000, lines.append)
    assert (tmp_path / "got").stat().st_size == 300_000
    assert lines == ["#1 [1/1] FROM", "#1 DONE"]


async def test_a_failed_build_raises_with_its_last_lines(tmp_path: Path) -> None:
    """A status other than 0 is BuildFailed with the failing step's output."""
    cli = fake_cli(tmp_path, "cat >/dev/null; echo '#3 [2/2] RUN make'; echo '#3 0.1 boom'; echo '#3 ERROR: 2'; exit 1")
    with pytest.raises(BuildFailed, match="RUN make") as caught:
        await Builder(docker=cli).build(REQUEST, b"", lambda _: None)
    assert "boom" in caught.value.facts["log"]


async def test_a_missing_cli_is_told(tmp_path: Path) -> None:
    """Without the CLI the error names what to install."""
    with pytest.raises(BuildFailed, match="cannot start"):
        await Builder(docker=str(tmp_path / "no")).build(REQUEST, b"", lambda _: None)


@pytest.mark.parametrize("how", ["timeout", "cancel"])
async def test_a_build_that_is_given_up_leaves_no_process(tmp_path: Path, how: str) -> None:
    """Out of time or cancelled, the CLI and its children are ended."""
    cli = fake_cli(tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/own; wait")
    builder = Builder(docker=cli, timeout=0.5 if how == "timeout" else 60)
    task = asyncio.create_task(builder.build(REQUEST, b"", lambda _: None))
    await until(lambda: (tmp_path / "own").exists() and bool((tmp_path / "own").read_text()))
    if how == "cancel":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        with pytest.raises(BuildFailed, match="took longer"):
            await task
    for name in ("own", "child"):
        pid = int((tmp_path / name).read_text())
        await until(lambda pid=pid: not _alive(pid))  # type: ignore[misc]


def states(folder: Path) -> list[Path]:
    return list(folder.glob("band-buildx-*"))


@pytest.mark.parametrize("how", ["succeeds", "fails", "cancelled"])
async def test_buildx_leaves_no_state_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Its folder lives as long as a build: a director that builds nothing, or is killed between builds, has none."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ends = {"succeeds": "exit 0", "fails": "exit 1", "cancelled": "exec sleep 60"}
    body = f'touch "$BUILDX_CONFIG/.lock"; echo "$BUILDX_CONFIG" > {tmp_path}/used; {ends[how]}'
    builder = Builder(docker=fake_cli(tmp_path, body))
    assert not states(tmp_path)
    build = asyncio.create_task(builder.build(REQUEST, b"", lambda _: None))
    await until(lambda: (tmp_path / "used").exists() and bool((tmp_path / "used").read_text()))
    if how == "cancelled":
        build.cancel()
    await asyncio.gather(build, return_exceptions=True)
    assert Path((tmp_path / "used").read_text().strip()).parent == tmp_path
    assert not states(tmp_path)


async def test_a_build_that_is_cancelled_while_it_starts_leaves_no_process(tmp_path: Path) -> None:
    """At whatever moment: the CLI may have started its children before asyncio knows that it runs."""
    cli = fake_cli(tmp_path, f"sleep 60 & echo $! >> {tmp_path}/children; wait")
    builder = Builder(docker=cli)
    for moment in range(20):
        task = asyncio.create_task(builder.build(REQUEST, b"", lambda _: None))
        await asyncio.sleep(moment / 2000)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.sleep(0.2)
    children = (tmp_path / "children").read_text().split() if (tmp_path / "children").exists() else []
    await until(lambda: not any(_alive(int(pid)) for pid in children))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(") ")[1][:1]


async def test_builds_are_bounded_and_one_a_tag(tmp_path: Path) -> None:
    """Of five builds, no more run at once than allowed, and those of one tag run one after another."""
    cli = fake_cli(tmp_path, f"echo + >> {tmp_path}/trace; sleep 0.1; echo - >> {tmp_path}/trace")
    builder = Builder(docker=cli, concurrency=2)
    tags = ["a", "a", "b", "c", "d"]
    await asyncio.gather(*(builder.build(BuildRequest(tag=tag, base_image="b"), b"", lambda _: None) for tag in tags))
    depth = most = 0
    for sign in (tmp_path / "trace").read_text().split():
        depth += 1 if sign == "+" else -1
        most = max(most, depth)
    assert most == 2


RUNC = (
    "#5 0.1 runc run failed: unable to start container process: waiting for init preliminary setup: read init-p: reset"
)


@pytest.mark.parametrize(("faults", "succeeds"), [(2, True), (3, False)])
async def test_a_step_that_the_engine_could_not_start_is_tried_again(
    tmp_path: Path, faults: int, *, succeeds: bool
) -> None:
    """A fault of the engine itself passes, so the build begins again, at most twice."""
    count = tmp_path / "count"
    body = (
        f"cat >/dev/null; echo x >> {count}; [ $(wc -l < {count}) -gt {faults} ] && exit 0\n"
        f'echo "#5 [2/3] RUN pip install x"; echo "{RUNC}"; echo "#5 ERROR: exit code: 1"; exit 1'
    )
    outcome = contextlib.nullcontext() if succeeds else pytest.raises(BuildFailed)
    with outcome:
        await Builder(docker=fake_cli(tmp_path, body)).build(REQUEST, b"tar", lambda line: None)
    assert count.read_text().count("x") == 3


async def test_a_step_that_ran_and_failed_is_not_tried_again(tmp_path: Path) -> None:
    """What is wrong in the image folder stays wrong."""
    count = tmp_path / "count"
    body = f'cat >/dev/null; echo x >> {count}; echo "#5 [2/3] RUN false"; echo "#5 ERROR: exit code: 1"; exit 1'
    with pytest.raises(BuildFailed):
        await Builder(docker=fake_cli(tmp_path, body)).build(REQUEST, b"tar", lambda line: None)
    assert count.read_text().count("x") == 1
