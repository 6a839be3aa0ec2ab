"""The Docker command line of a host, as far as the modules need it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple

NO_CLIENT = 127
TIMED_OUT = 124
PROGRESS = "/run/rockstat-band.progress"
"""What is done during a long task; the callback `steps` shows its last line where the host is this machine."""


class DockerError(Exception):
    """The Docker client failed; the message contains its output."""


class Answer(NamedTuple):
    """The result of a command: exit code, output, error output."""

    code: int
    out: str
    err: str


def run(
    *args: str,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    timeout: int = 0,
) -> Answer:
    """Run the Docker client and return its result: code 127 if it is missing, 124 after `timeout` seconds.

    Output that is redirected to a file is not part of the result.
    """
    if not shutil.which("docker"):
        return Answer(
            NO_CLIENT,
            "",
            "The docker command is not installed on this host. The role rockstat.band.docker installs it.",
        )
    limit = ["timeout", str(timeout)] if timeout else []
    done = subprocess.run(  # noqa: S603 - an argument list, no shell
        [*limit, "docker", *args],
        stdin=stdin or subprocess.DEVNULL,
        stdout=stdout or subprocess.PIPE,
        stderr=stderr or subprocess.PIPE,
        env={**os.environ, **(env or {})},
        check=False,
    )
    return Answer(done.returncode, *((text or b"").decode("utf-8", "replace") for text in (done.stdout, done.stderr)))


@contextlib.contextmanager
def progress_file(path: str = PROGRESS) -> Iterator[IO[bytes]]:
    """Yield a file for a build's output, which others can read; a temporary one if it cannot be created."""
    named = True
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644), "w+b")
    except OSError:
        named, file = False, tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    try:
        with file:
            yield file
    finally:
        if named:
            with contextlib.suppress(FileNotFoundError):  # another build may have had the same file
                os.unlink(path)


@contextlib.contextmanager
def progress_lines(path: str = PROGRESS) -> Iterator[Callable[[str], None]]:
    """Yield a function that adds a line to such a file. It never fails, because progress is only informative."""
    with progress_file(path) as file:

        def tell(line: str) -> None:
            with contextlib.suppress(OSError, ValueError):  # no space, or closed already
                os.write(file.fileno(), f"{line}\n".encode("utf-8", "replace"))

        yield tell


def docker(
    *args: str, stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None, ok: Sequence[int] = (0,)
) -> str:
    """Run the Docker client; return its output, unless that goes to a file.

    Raises:
        DockerError: it exited with another code than those of `ok`.
    """
    code, out, err = run(*args, stdin=stdin, stdout=stdout)
    if code not in ok:
        raise DockerError(f"docker {' '.join(args[:2])} failed ({code}): {err.strip() or 'it printed nothing'}")
    return out


def version() -> str:
    """Return the engine's version; empty if there is no client, or no engine responds."""
    code, out, _err = run("version", "--format", "{{.Server.Version}}")
    return "" if code else out.strip()


def inspect(kind: str, *names: str) -> list[dict[str, Any]]:
    """Return what `docker inspect` shows of the named objects that exist."""
    # One that is not there makes the exit code 1; the others are shown all the same.
    return list(json.loads(run(kind, "inspect", *names).out.strip() or "[]")) if names else []


def inspect_all(kind: str, *options: str) -> list[dict[str, Any]]:
    """Return every object of a kind (container, volume, network, image), inspected.

    Raises:
        DockerError: they could not be listed.
    """
    return inspect(kind, *sorted(set(docker(kind, "ls", "--quiet", *options).split())))


def containers_of(namespace: str) -> list[dict[str, Any]]:
    """Return the inspected containers of a namespace; none if there is no Docker."""
    listed = run("container", "ls", "--all", "--quiet", "--filter", f"label=band.namespace={namespace}")
    return inspect("container", *listed.out.split())
