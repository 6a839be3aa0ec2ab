"""The director as a process of this host, with a Redis of its own and an engine that can be cut off, for the tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis_with_users import DIRECTOR, RedisWithUsers, free_port

BASE_IMAGE = os.environ.get("BAND_TEST_BASE_IMAGE", "rockstat/band-base-py:latest")
PASSWORD = DIRECTOR
MAIN = """
import os, sys
from band import expose, response, settings, start_server
{extra}
@expose()
async def greet(who="world", **more):
    return {{"hello": who, "greeting": os.environ.get("GREETING", ""), "release": "{release}"}}

@expose.handler()
async def page(**event):
    return {{"ok": True}}

start_server(**settings)
"""


def docker(*words: str, check: bool = True) -> str:
    """Run the Docker CLI and return its output."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def until(found: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Return the first true value of `found`; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {found}")


class Redis(RedisWithUsers):
    """A redis-server with named users, reachable from the host and from the test network."""

    def __init__(self, namespace: str, gateway: str, folder: Path) -> None:
        super().__init__(folder, free_port(), namespace, addresses=[gateway])
        self.gateway = gateway
        self.start()


class EngineProxy:
    """A socket between the director and the engine that can be cut, as when dockerd is restarted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pairs: list[socket.socket] = []
        self._listener: socket.socket | None = None

    def open(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        assert self._listener is not None
        for found in [self._listener, *self._pairs]:
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
            found.close()
        self._pairs.clear()
        self.path.unlink()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect("/var/run/docker.sock")
                self._pairs += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


class Director:
    """The director as a process of this host, and its HTTP face."""

    def __init__(self, folder: Path, redis: Redis, gateway: str, *, namespace: str, ports: str, **env: str) -> None:
        self.namespace = namespace
        self.port = free_port()
        self.images = folder / "images" / "user"
        self.images.mkdir(parents=True)
        self._folder = folder
        self.log = folder / "director.log"
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONUNBUFFERED": "1", "PORT": str(self.port),
            "REDIS_DSN": redis.dsn(), "BAND_SERVICE_REDIS_DSN": redis.dsn(host=gateway), "BAND_REDIS_USERS": "yes",
            "BAND_NAMESPACE": namespace, "BAND_PORTS": ports, "BAND_BASE_IMAGE": BASE_IMAGE,
            "BAND_IMAGES": str(folder / "images"), "BAND_READY_TIMEOUT": "60", **env,
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None
        self.engine: EngineProxy | None = None
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "director"], env=self.env, cwd=self._folder, stdout=log, stderr=log
            )
        until(lambda: self.ask("/health")[0] == 200 and self.ask("/health")[1]["redis"]["desired_loaded"], 30)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(20)

    def ask(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Return (status, JSON or text) of a request; status 0 when nobody answers."""
        data = None if body is None else json.dumps(body).encode()
        more = {"Content-Type": "application/json"} if data else {}
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, {**more, **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=400) as answer:
                return answer.status, _read(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _read(error.read())
        except (urllib.error.URLError, ConnectionError):
            return 0, None

    def ok(self, path: str, body: Any = None) -> Any:
        status, answer = self.ask(path, body)
        assert status == 200, f"{path}: {status} {answer}\n{self.log.read_text()[-3000:]}"
        return answer

    def write(
        self, name: str, *, release: str = "1", extra: str = "", band_yml: str | None = "title: A test\n"
    ) -> None:
        """Write an image folder."""
        folder = self.images / name
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text('FROM {band-base-py-image}\nCOPY . /app/\nCMD ["python", "main.py"]\n')
        (folder / "main.py").write_text(MAIN.format(release=release, extra=extra))
        if band_yml is not None:
            (folder / "band.yml").write_text(band_yml)

    def row(self, name: str) -> dict[str, Any]:
        return next((row for row in self.ok("/list") if row["name"] == name), {})

    def clear(self) -> None:
        for row in self.ok("/list"):
            self.ask(f"/rm/{row['name']}")


def _read(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode()


def containers(namespace: str, service: str) -> list[str]:
    """Return `name state` of each container of a service."""
    filters = [f"label=band.namespace={namespace}", f"label=band.service={service}"]
    return docker("ps", "-a", "--format", "{{.Names}} {{.State}}", *(f"--filter={item}" for item in filters)).split(
        "\n"
    )


def end_proxy(port: int) -> None:
    """End the process by which Docker forwards a port of the host's loopback."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode("utf-8", "replace").split("\0")
            if words[0].endswith("docker-proxy") and str(port) in words:
                os.kill(int(path.parent.name), signal.SIGKILL)
                return
    raise AssertionError(f"no docker-proxy has port {port}")


def clean_up(namespace: str) -> None:
    """Remove every container, image and the network of a namespace."""
    for kind, remove in (("ps", ["rm", "-f", "-v"]), ("images", ["rmi", "-f"])):
        for found in set(docker(kind, "-aq", f"--filter=label=band.namespace={namespace}").split()):
            docker(*remove, found, check=False)
    docker("network", "rm", namespace, check=False)


def start_redis(namespace: str, folder: Path) -> Redis:
    """Make the network of a namespace, all that was left of it removed, and a Redis that its services reach."""
    assert docker("images", "-q", BASE_IMAGE), f"{BASE_IMAGE} is not there: bin/test integration makes it"
    clean_up(namespace)
    docker("network", "create", namespace)
    gateway = docker("network", "inspect", namespace, "--format", "{{(index .IPAM.Config 0).Gateway}}")
    return Redis(namespace, gateway, folder)
