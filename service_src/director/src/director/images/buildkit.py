"""Building images with BuildKit: a pure command builder, a reader of its progress, and the runner."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import msgspec

from director.engine.log_feed import LogFeed, cut
from director.errors import BuildFailed
from director.locks import Locks
from director.redact import mask_url

LOG_LINES = 20
ATTEMPTS = 3
# Seen on a busy two-core host: runc lost its own child before the step began ("read init-p: connection reset by peer").
ENGINE_FAULTS = ("runc run failed: unable to start container process: waiting for init", "failed to create shim task")
_STEP = re.compile(r"^#(?P<step>\d+) (?P<rest>.*)$")
_TIMED = re.compile(r"^\d+\.\d+ ")
_COUNTED = re.compile(r"^\[(?:[\w.-]+ +)?(?P<done>\d+)/(?P<all>\d+)\] (?P<what>.*)$")


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to build: `tag` is the image's full name, `base_image` is passed as BASE_CONTAINER."""

    tag: str
    base_image: str
    labels: Mapping[str, str] = {}
    nocache: bool = False


def build_command(request: BuildRequest, docker: str = "docker") -> list[str]:
    """Return the argument list of `docker buildx build` with the context's tar on standard input."""
    command = [docker, "buildx", "build", "--progress=plain", "--load", "--provenance=false", f"--tag={request.tag}"]
    command += [f"--label={key}={value}" for key, value in sorted(request.labels.items())]
    command.append(f"--build-arg=BASE_CONTAINER={request.base_image}")
    if request.nocache:
        command.append("--no-cache")
    return [*command, "-"]


class BuildLog:
    """Parses BuildKit's plain progress: current step (0 of 0 before the first), last lines, failed step."""

    def __init__(self) -> None:
        self.began = time.time()
        self.step = self.steps = 0
        self.what = ""
        self.lines: deque[str] = deque(maxlen=LOG_LINES)
        self._steps: dict[str, deque[str]] = {}
        self._titles: dict[str, str] = {}
        self._failed = ""

    def feed(self, line: str) -> None:
        line = cut(mask_url(line))
        if not line.strip():
            return
        match = _STEP.match(line)
        text = _TIMED.sub("", match["rest"] if match else line)
        self.lines.append(text)
        if match is not None:
            self._take(match["step"], match["rest"], text)

    def failure(self) -> tuple[str, list[str]]:
        """Return (title of the failed step, its last lines); without one, the last lines of the output."""
        if not self._failed:
            return "", list(self.lines)
        return self._titles[self._failed], list(self._steps[self._failed])

    def _take(self, step: str, rest: str, text: str) -> None:
        if rest.startswith("ERROR"):
            self._failed = step
        if counted := _COUNTED.match(rest):
            self.step, self.steps, self.what = int(counted["done"]), int(counted["all"]), counted["what"]
        lines = self._steps.setdefault(step, deque(maxlen=LOG_LINES))
        if step in self._titles:
            lines.append(text)
        else:
            self._titles[step] = rest


class Progress:
    """The builds in progress by service; their lines also go to the feed, as source `build`."""

    def __init__(self, feed: LogFeed) -> None:
        self._feed = feed
        self._now: dict[str, BuildLog] = {}

    def of(self, name: str) -> BuildLog | None:
        """Return the current build of a service, None if there is none."""
        return self._now.get(name)

    @contextmanager
    def building(self, name: str, image: str) -> Iterator[None]:
        """Register the block as a build of a service."""
        self._now[name] = BuildLog()
        self._feed.note("build", name, f"building {image}")
        try:
            yield
        except BaseException:
            self._feed.note("build", name, f"building {image} failed")
            raise
        else:
            seconds = time.time() - self._now[name].began
            self._feed.note("build", name, f"built {image} in {seconds:.1f} s")
        finally:
            self._now.pop(name, None)

    def line(self, name: str, text: str) -> None:
        now = self._now.get(name)
        if now is not None:
            now.feed(text)
        self._feed.note("build", name, text)


class Builder:
    """Runs builds: at most `concurrency` at once, one at a time per tag, each within `timeout` seconds."""

    def __init__(self, *, timeout: float = 900.0, concurrency: int = 2, docker: str = "docker") -> None:
        self._timeout = timeout
        self._docker = docker
        self._slots = asyncio.Semaphore(concurrency)
        self._tags = Locks()

    async def build(self, request: BuildRequest, context: bytes, log: Callable[[str], None]) -> None:
        """Build an image; `log` gets each line of progress.

        Raises:
            BuildFailed: it failed; `facts["log"]` has the failing step's last lines.
        """
        async with self._tags.hold(request.tag), self._slots:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    # buildx writes its own state; the director's root is read-only, and a user's ~/.docker is not ours
                    # to change. A folder for each build: one for the process would be left by each that is killed.
                    with tempfile.TemporaryDirectory(prefix="band-buildx-", ignore_cleanup_errors=True) as state:
                        await self._run(request, context, log, state)
                except BuildFailed as error:
                    if attempt == ATTEMPTS or not is_engine_fault(error.facts["log"]):
                        raise
                    log(f"the engine could not start a step, trying again ({attempt} of {ATTEMPTS - 1})")
                else:
                    return

    async def _run(self, request: BuildRequest, context: bytes, log: Callable[[str], None], state: str) -> None:
        printed = BuildLog()
        try:
            process = await self._start(request, state)
        except OSError as error:
            raise BuildFailed(
                f"cannot start {self._docker!r}: {error}", "install docker-cli and docker-buildx", log=[]
            ) from error
        try:
            async with asyncio.timeout(self._timeout):
                feed = asyncio.create_task(_feed(process, context))
                await _follow(process, printed, log)
                await feed
                code = await process.wait()
        except TimeoutError as error:
            raise BuildFailed(
                f"building {request.tag} took longer than {self._timeout:.0f} s and was stopped",
                "check the last step; BAND_BUILD_TIMEOUT sets the limit",
                log=printed.failure()[1],
            ) from error
        finally:
            await _kill(process)
        if code != 0:
            title, lines = printed.failure()
            where = f" at step {title}" if title else ""
            raise BuildFailed(f"building {request.tag} failed{where}", "see the step's last log lines", log=lines)

    async def _start(self, request: BuildRequest, state: str) -> asyncio.subprocess.Process:
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *build_command(request, self._docker),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, "BUILDX_CONFIG": state, "DOCKER_CLI_HINTS": "false"},
                start_new_session=True,
                limit=2**20,
            )
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:  # asyncio itself would kill the CLI, but not its children
            await _kill(await starting)
            raise


def is_engine_fault(lines: list[str]) -> bool:
    """Return whether the engine failed to start a step, which is temporary, rather than the step itself."""
    return any(mark in line for line in lines for mark in ENGINE_FAULTS)


async def _feed(process: asyncio.subprocess.Process, context: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - asked for a pipe above
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(context)
        await process.stdin.drain()
    process.stdin.close()


async def _follow(process: asyncio.subprocess.Process, printed: BuildLog, log: Callable[[str], None]) -> None:
    assert process.stdout is not None  # noqa: S101 - asked for a pipe above
    while True:
        try:
            raw = await process.stdout.readline()
        except ValueError:  # a line longer than the buffer: its rest follows
            continue
        if not raw:
            return
        line = raw.decode("utf-8", "replace").rstrip()
        printed.feed(line)
        if line.strip():
            log(line)


async def _kill(process: asyncio.subprocess.Process) -> None:
    """Kill the whole process group (the CLI starts buildx as a child) unless it has exited."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
