"""Servers that a benchmark starts for itself: a Redis and a NATS on free ports, and Python processes beside them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


def free_port() -> int:
    """Return a port of this host that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, seconds: float = 10.0) -> None:
    """Wait until somebody listens on ``port``."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.02)
    raise SystemExit(f"nobody listens on port {port} after {seconds:g} s")


def need(program: str, package: str) -> str:
    """Return the path of ``program``, installing Debian's ``package`` when it is missing."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        subprocess.run(["apt-get", "install", "-qq", "-y", "--no-install-recommends", package], check=True)
        path = shutil.which(program)
    if path is None:
        raise SystemExit(f"{program} is missing: install the package {package}")
    return path


@contextlib.contextmanager
def process(*argv: str, env: dict[str, str] | None = None, quiet: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of the block."""
    out = subprocess.DEVNULL if quiet else None
    child = subprocess.Popen(argv, env={**os.environ, **(env or {})}, stdout=out, stderr=out)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a Redis of its own, without persistence unless ``options`` ask for it; yields its port."""
    port = free_port()
    program = need("redis-server", "redis-server")
    with process(program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp", *options) as child:
        wait_for_port(port)
        yield port, child


@contextlib.contextmanager
def nats_server() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a NATS server of its own; yields its port."""
    port = free_port()
    with process(need("nats-server", "nats-server"), "-a", "127.0.0.1", "-p", str(port)) as child:
        wait_for_port(port)
        yield port, child


def python(script: str, *argv: str) -> tuple[str, ...]:
    """Return the command line of a script of this folder."""
    return (sys.executable, str(HERE / script), *argv)


def node(script: str, *argv: str) -> tuple[str, ...]:
    """Return the command line of a script of this folder that needs Node.js and the TypeScript framework."""
    if not (HERE.parents[1] / "service_src/rock_me_ts/dist/index.js").exists():
        raise SystemExit("the TypeScript framework is not built: run bin/test node first")
    return (need("node", "nodejs"), str(HERE / script), *argv)


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds (user and system) that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
