"""`band` against a real director, a real Docker Engine and a real Redis: every verb as typed in a shell."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from director_host import BASE_IMAGE, Director, clean_up, docker, start_redis, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]
NAMESPACE = "t-band-cli"


@pytest.fixture(scope="module")
def director(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Director]:
    redis = start_redis(NAMESPACE, tmp_path_factory.mktemp("redis"))
    found = Director(
        tmp_path_factory.mktemp("director"), redis, redis.gateway, namespace=NAMESPACE, ports="8650-8669"
    )  # fmt: skip
    found.redis = redis  # type: ignore[attr-defined]
    yield found
    found.clear()
    found.end()
    redis.stop()
    clean_up(NAMESPACE)


def start(director: Director, *words: str) -> subprocess.Popen[str]:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "BAND_HOST": f"http://127.0.0.1:{director.port}"}
    command = [sys.executable, "-m", "band_cli", *words]
    return subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job, as this may be one of, ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def band(director: Director, *words: str, code: int = 0) -> str:
    """Run it and return its output; the exit code has to be `code`."""
    process = start(director, *words)
    out, err = process.communicate(timeout=100)
    assert process.returncode == code, f"{words}: {process.returncode}\n{out}\n{err}"
    return out + err if code else out


def first_lines(process: subprocess.Popen[str], wanted: str) -> None:
    """Read until a line has a text, then interrupt it as Ctrl-C does."""
    assert process.stdout
    for line in process.stdout:
        if wanted in line:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
            assert process.returncode == 130
            return
    raise AssertionError(f"{wanted} never came: {process.stderr.read() if process.stderr else ''}")


def test_a_service_from_its_folder_to_its_end(director: Director) -> None:
    """run with a real build, ps, call, logs, a second release, rollback, stop, start, restart, rm."""
    director.write("hello", extra="print('up and away', flush=True)")
    assert "would be built" in band(director, "run", "hello", "--dry-run")
    process = start(director, "run", "hello", "--env", "GREETING=hi", "-v")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert out.startswith("hello is running, container ")
    assert "COPY . /app/" in err  # a step of the build
    assert json.loads(band(director, "call", "hello", "greet", "who=you")) == {
        "hello": "you",
        "greeting": "hi",
        "release": "1",
    }
    assert "up and away" in band(director, "logs", "hello")
    first_lines(start(director, "logs", "hello", "-f"), "up and away")
    rows = {row["name"]: row for row in json.loads(band(director, "ps", "--json"))}
    assert rows["hello"]["state"] == "running"
    assert "hello" in band(director, "ps")

    director.write("hello", release="2")
    band(director, "run", "hello")
    assert "good" in band(director, "releases", "hello")
    assert "would be rolled back" in band(director, "rollback", "hello", "--dry-run")
    band(director, "rollback", "hello")
    assert json.loads(band(director, "call", "hello", "greet"))["release"] == "1"

    assert band(director, "stop", "hello").startswith("hello is exited")
    assert band(director, "start", "hello").startswith("hello is running")
    assert band(director, "restart", "hello").startswith("hello is running")
    assert band(director, "rm", "hello", "--yes") == "hello is removed\n"
    assert "never been run" in band(director, "stop", "hello", code=1)


def test_a_build_that_fails_shows_its_last_lines(director: Director) -> None:
    """Exit code 1, and what the failing step printed."""
    director.write("broken")
    (director.images / "broken" / "Dockerfile").write_text("FROM {band-base-py-image}\nRUN echo no luck; exit 3\n")
    told = band(director, "run", "broken", code=1)
    assert "no luck" in told
    assert "band: building" in told


def test_events_and_their_path(director: Director) -> None:
    """events, events -f and trace show what is in a real stream."""
    redis: Any = director.redis  # type: ignore[attr-defined]
    at = int(time.time() * 1000)

    def add(number: int) -> str:
        identity = str((at << 22) + number)
        event = {"id": identity, "key": "in.gen.track.hello", "uid": "7", "data": {"n": number}}
        with redis.admin() as client:
            client("XADD", "events", f"{at + number}-0", "event", json.dumps(event))
        return identity

    identity = add(1)
    assert identity in band(director, "events", "--key", "in.gen.track")
    assert band(director, "events", "--key", "in.other") == ""
    following = start(director, "events", "-f", "--json")
    assert following.stdout
    assert json.loads(following.stdout.readline())["event"]["data"] == {"n": 1}
    later = add(2)
    first_lines(following, later)
    assert "The stream has no listeners" in band(director, "trace", identity)


def test_doctor_and_status_name_what_is_wrong(director: Director) -> None:
    """Without front no event is accepted; a container that publishes a port to the world is named; exit code 4."""
    name = f"{NAMESPACE}-open"
    docker(
        "run", "-d", "--name", name, "--network", NAMESPACE, "-p", "0.0.0.0:8669:80", "--label=band.kind=core",
        f"--label=band.namespace={NAMESPACE}", "--label=band.service=open", BASE_IMAGE, "sleep", "60",
    )  # fmt: skip
    try:
        told = until(lambda: found if "port 8669" in (found := band(director, "doctor", code=4)) else "")
        assert "front: it is not running, so no events are accepted" in told
        assert "open: port 8669 is published on 0.0.0.0: other machines can reach it" in told
    finally:
        docker("rm", "-f", name)
    found = json.loads(band(director, "status", "--json"))
    assert found["director"]["status"] == "ok"
    assert band(director, "version").startswith("band 0.")


def test_looking_takes_less_than_half_a_second(director: Director) -> None:
    """The median of 20, against that of an import of its libraries: both in turn, so that other load meets both."""
    took, alone = [], []
    for _ in range(20):
        begun = time.monotonic()
        band(director, "ps")
        took.append(time.monotonic() - begun)
        begun = time.monotonic()
        subprocess.run([sys.executable, "-c", "import click, rich.table, http.client, ssl"], check=True)
        alone.append(time.monotonic() - begun)
    whole, libraries = statistics.median(took), statistics.median(alone)
    print(f"band ps: median {whole:.3f} s of 20; its libraries alone {libraries:.3f} s")
    assert whole < max(0.4, 3 * libraries)
