"""Front says how it is, and the director shows it: a real front, a real director over an engine in memory."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, Stage, free_port

DIRECTOR = ROOT / "service_src/director/tests/fake_director.py"
HEARTBEAT = 6.0
"""Seconds within which a heartbeat of front has come, and its status was asked for."""
SLACK = 6.0
"""Seconds more, for a machine that has much to do."""


class Wire:
    """A way to Redis that can be cut: what is sent while it is cut arrives nowhere, and nobody is told."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.cut = False
        self._to = port
        self._sockets = [socket.create_server(("127.0.0.1", self.port))]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._sockets[0].accept()
                redis_side = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [client, redis_side]
                self._start(self._pass, client, redis_side)
                self._start(self._pass, redis_side, client)

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if not self.cut:
                    other.sendall(data)
            other.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for one in self._sockets:
            one.close()


class Platform(Stage):
    """Redis, front and the director, which believes that front runs in a container of its engine."""

    def __init__(self, folder: Path, **front: str) -> None:
        super().__init__(folder)
        self.start_redis()
        self.wire = Wire(self.ports["redis"])
        self._front = front
        self.start("front")
        images = folder / "images"
        images.mkdir()
        env = {**self._environment("director", folder), "FAKE_REAL": "front", "BAND_IMAGES": str(images)}
        del env["DOCKER_HOST"]
        self._run("director", [sys.executable, str(DIRECTOR)], folder, env)
        self.until(lambda: self.answers(self.ports["director"]))
        self.until(lambda: self.health()["redis"]["desired_loaded"] and self.row()["app_state"] == "running")

    def _environment(self, name: str, folder: Path) -> dict[str, str]:
        found = super()._environment(name, folder)
        if name != "front":
            return found
        dsn = found["REDIS_DSN"].replace(f":{self.ports['redis']}/", f":{self.wire.port}/")
        return {**found, "WORKERS": "1", "REDIS_DSN": dsn, **self._front}

    def command(self, *words: Any) -> Any:
        """Say something to Redis as its administrator."""
        with self.redis.admin() as admin:
            return admin(*words)

    @staticmethod
    def answers(port: int) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    def until(self, found: Callable[[], Any], seconds: float = 30.0) -> Any:
        """Return the first true value of `found`; fail with all logs when there is none in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if value := found():
                    return value
            time.sleep(0.05)
        raise AssertionError({name: log[-3000:] for name, log in self.logs().items()})

    def text(self, path: str, service: str = "director", body: bytes | None = None) -> str:
        """Return an answer, whatever its status."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[service]}{path}", data=body)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def row(self) -> Any:
        return json.loads(self.text("/state?name=front"))

    def health(self) -> Any:
        return json.loads(self.text("/health"))

    def stop(self) -> None:
        super().stop()
        self.wire.close()


@pytest.fixture
def make_platform(tmp_path: Path) -> Iterator[Callable[..., Platform]]:
    """A function that starts a platform, with what front's environment has more."""
    made: list[Platform] = []

    def make(**front: str) -> Platform:
        made.append(Platform(tmp_path, **front))
        return made[-1]

    yield make
    for found in made:
        found.stop()
        assert found.refused == []  # Redis' users have what all of this needs


@pytest.mark.timeout(120)
def test_a_stream_that_is_nearly_full_shows_at_the_director(make_platform: Callable[..., Platform]) -> None:
    """With front's next heartbeat, in `/list`, `/health`, `/metrics` and on the page, with the listener's name."""
    found = make_platform(EVENTS_MAXLEN="1000")
    assert (found.row()["health"], found.health()["status"]) == ("ok", "ok")
    time.sleep(HEARTBEAT)  # front has the registrations by now, and answers null to them
    found.command("XGROUP", "CREATE", "events", "lagging", "$", "MKSTREAM")
    for _ in range(950):
        found.command("XADD", "events", "*", "event", "{}")
    row = found.until(lambda: (row := found.row())["health"] == "degraded" and row, HEARTBEAT + SLACK)
    assert "stream: " in row["health_reason"]
    assert "lagging" in row["health_reason"]
    assert "XGROUP DESTROY" in row["health_reason"]
    health = found.health()
    assert (health["status"], health["services"]["troubled"]) == ("degraded", ["front"])
    assert health["services"]["reasons"]["front"] == row["health_reason"]
    assert 'band_service_health{health="degraded",service="front"} 1.0' in found.text("/metrics")
    assert "held back by lagging" in found.text("/")
    found.command("XGROUP", "DESTROY", "events", "lagging")
    found.command("XTRIM", "events", "MAXLEN", "10")
    found.until(lambda: found.health()["status"] == "ok", HEARTBEAT + SLACK)


@pytest.mark.timeout(150)
def test_a_front_that_cannot_say_anything_is_not_called_well(make_platform: Callable[..., Platform]) -> None:
    """Its way to Redis is cut: half a minute later it is not `ok` any more, and is again when the way is back."""
    found = make_platform()
    found.wire.cut = True
    row = found.until(lambda: (row := found.row())["health"] != "ok" and row, 30 + HEARTBEAT + SLACK)
    assert row["health"] == "degraded"  # its own health check passes: it takes events into its journal
    assert "has not answered over Redis for" in row["health_reason"]
    assert found.health()["services"]["troubled"] == ["front"]
    found.wire.cut = False
    found.until(lambda: found.health()["status"] == "ok", 60)


@pytest.mark.timeout(120)
def test_a_redis_that_refuses_writes_is_not_called_well(make_platform: Callable[..., Platform]) -> None:
    """Full: `failing`, with what Redis said and what to do; ok again with the next look after there is room."""
    found = make_platform()
    assert found.health()["redis"] == {"status": "ok", "desired_loaded": True}
    found.command("CONFIG", "SET", "maxmemory", "1")
    part = found.until(lambda: (part := found.health()["redis"])["status"] == "failing" and part, 5 + SLACK)
    assert "OOM command not allowed" in part["reason"]
    assert "band_redis_maxmemory" in part["reason"]
    assert found.health()["status"] == "degraded"
    assert "band_redis_up 0.0" in found.text("/metrics")
    found.command("CONFIG", "SET", "maxmemory", "0")
    found.until(lambda: found.health()["redis"]["status"] == "ok", 5 + SLACK)
