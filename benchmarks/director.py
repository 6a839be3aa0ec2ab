"""The director: how long `/run` takes beside `docker run`, how fast `/list` is, how soon it starts, what it weighs.

`/run` and `docker run` bring up the same image with the same flags to the same readiness (the service answers
`__status`), in turns, each from nothing; the median counts. `/list`, start and memory are of the whole director over a
real Redis, its engine in memory (service_src/director/tests/fake_director.py).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from servers import free_port, process, redis_server

sys.path.remove(str(Path(__file__).parent))  # or `director` would be this file

from band.redis import RedisAddress, RedisLink
from director.discovery.probe import Prober

ROOT = Path(__file__).parents[1]
FAKE = ROOT / "service_src/director/tests/fake_director.py"
NAMESPACE = "t-api-bench"
SERVICE = "hello"
POLL = 0.02
"""Seconds between two requests of `__status` to what `docker run` started."""


def write_service(folder: Path) -> None:
    """Write the image folder of a service that does nothing but answer."""
    (folder / "user" / SERVICE / "hello").mkdir(parents=True)
    files = {
        "Dockerfile": 'FROM {band-base-py-image}\nCOPY . ./\nCMD ["python", "-m", "hello"]\n',
        "band.yml": "title: Hello\n",
        "config.yaml": f"name: {SERVICE}\n",
        "hello/__init__.py": "",
        "hello/__main__.py": "from band import settings, start_server\n\nstart_server(**settings)\n",
    }
    for name, text in files.items():
        (folder / "user" / SERVICE / name).write_text(text)


@contextlib.contextmanager
def network() -> Iterator[str]:
    """Make the services' network; yields the address of the host in it."""
    docker("network", "create", NAMESPACE)
    try:
        yield docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", NAMESPACE)
    finally:
        clean()


def docker(*argv: str) -> str:
    """Run a docker command; returns its output."""
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"docker {' '.join(argv[:3])}: {done.stderr.strip()}")
    return done.stdout.strip()


def clean() -> None:
    """Remove what an earlier run may have left."""
    found = docker("ps", "-aq", "--filter", f"label=band.namespace={NAMESPACE}").split()
    if found:
        docker("rm", "-f", *found)
    subprocess.run(["docker", "network", "rm", NAMESPACE], capture_output=True, check=False)
    images = docker("images", "-q", "--filter", f"label=band.namespace={NAMESPACE}").split()
    if images:
        docker("rmi", "-f", *sorted(set(images)))


def get(port: int, path: str) -> Any:
    """GET a path of the director; fails on everything but 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{path}: {answer.status} {body.decode()[:2000]}")
        return json.loads(body)
    finally:
        connection.close()


def await_start(port: int) -> None:
    """Wait until the director answers, Redis and engine at hand."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with contextlib.suppress(OSError, SystemExit):
            if get(port, "/health")["redis"]["desired_loaded"]:
                return
        time.sleep(0.005)
    raise SystemExit("the director did not start")


def run_in_turns(rounds: int) -> dict[str, list[float]]:
    """Bring the same image up by `/run` and by `docker run`, in turns; returns the seconds of each."""
    clean()
    password, port = secrets.token_hex(8), free_port()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_service(folder)
        gateway = stack.enter_context(network())
        options = ("--bind", "127.0.0.1", gateway, "--requirepass", password)
        redis, _ = stack.enter_context(redis_server(*options))
        dsn = f"redis://:{password}@{{}}:{redis}/0"
        env = {
            "HOST": "127.0.0.1", "PORT": str(port), "REDIS_DSN": dsn.format("127.0.0.1"), "BAND_IMAGES": str(folder),
            "BAND_SERVICE_REDIS_DSN": dsn.format(gateway), "BAND_NAMESPACE": NAMESPACE, "BAND_PORTS": "8750-8759",
            "LOG_LEVEL": "INFO",
        }  # fmt: skip
        stack.enter_context(process(sys.executable, "-m", "director", env=env))
        await_start(port)
        get(port, f"/run/{SERVICE}")
        image = get(port, f"/show/{SERVICE}")["image"]
        get(port, f"/rm/{SERVICE}")
        return asyncio.run(_turns(rounds, port, image, dsn.format("127.0.0.1"), dsn.format(gateway)))


async def _turns(rounds: int, port: int, image: str, dsn: str, service_dsn: str) -> dict[str, list[float]]:
    prober_link = RedisLink("bench", on_message=lambda channel, payload: prober.on_message(channel, payload))
    prober = Prober(prober_link)
    await prober_link.subscribe(prober.reply_to)
    prober_link.start(RedisAddress.parse(dsn))
    await prober_link.ready(10)
    found: dict[str, list[float]] = {"run": [], "docker_run": [], "replace": []}
    try:
        for _ in range(rounds + 1):
            found["run"].append(await _timed(asyncio.to_thread(get, port, f"/run/{SERVICE}")))
            found["replace"].append(await _timed(asyncio.to_thread(get, port, f"/run/{SERVICE}")))
            await asyncio.to_thread(get, port, f"/rm/{SERVICE}")
            await asyncio.sleep(1)
            found["docker_run"].append(await _timed(_docker_run(image, service_dsn, prober)))
            await asyncio.to_thread(docker, "rm", "-f", f"{NAMESPACE}-plain")
            await asyncio.sleep(1)
    finally:
        await prober_link.close()
    return {key: values[1:] for key, values in found.items()}  # the first of each warms the caches


async def _timed(work: Any) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


async def _docker_run(image: str, dsn: str, prober: Prober) -> None:
    flags = (
        "--init", "--read-only", "--tmpfs", "/tmp:rw,nosuid,nodev,size=64m,mode=1777", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--memory", "350m", "--memory-swap", "350m", "--pids-limit", "256",
        "--user", "10001:10001", "--network", NAMESPACE, "-p", "127.0.0.1:8769:8080", "-e", f"NAME={SERVICE}",
        "-e", "HOST=0.0.0.0", "-e", "PORT=8080", "-e", f"REDIS_DSN={dsn}", "-e", "LOG_LEVEL=INFO",
    )  # fmt: skip
    await asyncio.to_thread(docker, "run", "-d", "--name", f"{NAMESPACE}-plain", *flags, image)
    if await prober.ask(SERVICE, timeout=60, interval=POLL) is None:
        raise SystemExit("what docker run started does not answer")


def fake_director(services: int) -> contextlib.AbstractContextManager[tuple[int, int, float]]:
    """Run the whole director over an engine in memory; yields its port, pid, and the seconds until it answered."""

    @contextlib.contextmanager
    def running() -> Iterator[tuple[int, int, float]]:
        port = free_port()
        with contextlib.ExitStack() as stack:
            redis, _ = stack.enter_context(redis_server())
            env = {
                "HOST": "127.0.0.1", "PORT": str(port), "REDIS_DSN": f"redis://127.0.0.1:{redis}/0",
                "BAND_NAMESPACE": NAMESPACE, "FAKE_SERVICES": str(services), "LOG_LEVEL": "INFO",
            }  # fmt: skip
            begun = time.perf_counter()
            child = stack.enter_context(process(sys.executable, str(FAKE), env=env))
            await_start(port)
            yield port, child.pid, time.perf_counter() - begun

    return running()


def list_times(port: int, count: int) -> list[float]:
    """Return the milliseconds of `count` requests of `/list`, one after another on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        connection.request("GET", "/list")
        body = connection.getresponse().read()
        times.append((time.perf_counter() - begun) * 1000)
    assert len(json.loads(body)) == 100
    connection.close()
    return times


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(rounds: int, requests: int) -> dict[str, Any]:
    """Measure everything."""
    with fake_director(100) as (port, _, _):
        time.sleep(3)
        times = sorted(list_times(port, requests))
    starts = []
    for _ in range(rounds):
        with fake_director(20) as (port, pid, seconds):
            starts.append(seconds)
            if len(starts) == rounds:
                time.sleep(3)
                for _ in range(50):
                    for path in ("/list", "/state", "/health", "/list_images"):
                        get(port, path)
                weight = memory_mb(pid)
    turns = run_in_turns(rounds)
    ours = {
        "list_100_p50_ms": round(statistics.median(times), 2),
        "list_100_p99_ms": round(times[int(len(times) * 0.99)], 2),
        "start_s": round(statistics.median(starts), 3),
        "memory_mb_20_services": round(weight, 1),
        "run_s": round(statistics.median(turns["run"]), 3),
        "replace_s": round(statistics.median(turns["replace"]), 3),
    }
    plain = {"run_s": round(statistics.median(turns["docker_run"]), 3)}
    ratio = {"run_vs_docker_run": round(ours["run_s"] / plain["run_s"], 2)}
    return {"ours": ours, "docker_run": plain, "ratio": ratio, "rounds": turns}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bin/bench director", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=500)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended also then
    found = measure(options.rounds, options.requests)
    rounds = found.pop("rounds")
    for key, value in found["ours"].items():
        print(f"{key:24} {value}")
    print(f"{'docker run':24} {found['docker_run']['run_s']}")
    for key, values in rounds.items():
        print(f"  {key:22} {' '.join(f'{value:.2f}' for value in values)}")
    print(f"{'run_vs_docker_run':24} {found['ratio']['run_vs_docker_run']}  (1.3 at most is the goal; less is better)")
    if options.json:
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
