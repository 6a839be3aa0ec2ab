"""The way of an event as processes, from pages of a site to what Mixpanel would get."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from hashlib import sha256
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import redis

IMAGES = Path(__file__).parents[2] / "band_images"
PATIENCE = 30.0
AUTOMATIC = ("session", "page_loaded", "page_unload")
"""Events that the SDK makes by itself, whatever the visitor does."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(found: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Return the first true value of `found`; fail when there is none in time. An OSError is no value yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if value := found():
                return value
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {found}")


class Platform:
    """Front, send_mixpanel and a double of Mixpanel as processes, with the settings of their images."""

    def __init__(self, folder: Path, redis_port: int, *, whole: bool = True, **front: str) -> None:
        """Start all, or front alone; `front` is its environment."""
        self.ports = {name: free_port() for name in ("front", "mixpanel_double", "send_mixpanel")}
        self.url = f"http://127.0.0.1:{self.ports['front']}"
        self.redis = redis.Redis(port=redis_port)
        self._folder = folder
        self._dsn = f"redis://127.0.0.1:{redis_port}"
        self._double = f"http://127.0.0.1:{self.ports['mixpanel_double']}"
        self._running = [self._run("front", ADMIN_PORT="0", WORKERS="1", **front)]
        if whole:
            self._running += [
                self._run("mixpanel_double"),
                self._run("send_mixpanel", MIXPANEL_TOKEN="token", MIXPANEL_URL=self._double, LINGER="0.1"),
            ]
        until(lambda: self._read(f"{self.url}/_band/health")["checks"]["redis"]["status"] == "ok")
        if not whole:
            return
        until(lambda: self._read(f"{self._double}/_double/events") is not None)
        until(lambda: self.redis.exists("events") and self.redis.xinfo_groups("events"))

    def _run(self, name: str, **env: str) -> subprocess.Popen[bytes]:
        folder = self._folder / name
        folder.mkdir()
        shutil.copy(IMAGES / name / "config.yaml", folder)
        given = {
            "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "NAME": name, "HOST": "127.0.0.1", "PORT": str(self.ports[name]), "REDIS_DSN": self._dsn,
            "DATA_DIR": str(folder), "JOURNAL_DIR": "", **env,
        }  # fmt: skip
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen([sys.executable, "-m", name], cwd=folder, env=given, stdout=log, stderr=log)

    def read(self, path: str) -> Any:
        """Return the JSON of a path of front."""
        return self._read(self.url + path)

    def _read(self, url: str) -> Any:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)

    def snippet(self) -> str:
        """Return what front's `/` tells its reader to put on a page."""
        with urllib.request.urlopen(self.url, timeout=5) as answer:
            found = re.search(r"<pre[^>]*>(.*?)</pre>", answer.read().decode(), re.DOTALL)
        assert found
        return unescape(found[1])

    def events(self, count: int, without: tuple[str, ...] = AUTOMATIC) -> list[dict[str, Any]]:
        """Return the events of the stream, oldest first, once there are so many."""

        def found() -> list[dict[str, Any]]:
            entries: Any = self.redis.xrange("events")
            events = [json.loads(fields[b"event"]) for _, fields in entries]
            events = [event for event in events if event["name"] not in without]
            return events if len(events) >= count else []

        return list(until(found))

    def delivered(self, count: int) -> list[str]:
        """Return the names of what Mixpanel counted, once there are so many and nothing waits any more."""

        def done() -> list[str]:
            (group,) = self.redis.xinfo_groups("events")
            events = self._read(f"{self._double}/_double/events?limit=1000")["events"]
            settled = group["pending"] == 0 and group["last-delivered-id"] == self._last()
            names = [str(event["event"]) for event in events]
            names = [name for name in names if name.removeprefix("track/") not in AUTOMATIC]
            return names if settled and len(names) >= count else []

        return sorted(until(done))

    def _last(self) -> Any:
        return self.redis.xinfo_stream("events")["last-generated-id"]

    def stop(self) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            process.wait(15)


class Sites:
    """A web server for the pages of a test: path -> HTML."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = pages.get(self.path, "").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class TlsSites:
    """Sites with names, over TLS: pages of all hosts, and front behind a proxy under one of them."""

    def __init__(self, folder: Path, front: str, tracker: str) -> None:
        self.pages: dict[str, str] = {}
        self.down = False
        """Whether the tracker's connections are cut."""
        self.asked: list[tuple[str, str]] = []
        """Method and path of each request to the tracker."""
        self.busy = 0
        """Requests to the tracker that are under way."""
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=shop.example", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        public = subprocess.run(
            ["openssl", "pkey", "-in", key, "-pubout", "-outform", "der"], check=True, capture_output=True
        ).stdout
        self.trust = f"--ignore-certificate-errors-spki-list={b64encode(sha256(public).digest()).decode()}"
        """The argument by which Chromium trusts the certificate. A context that ignores all errors would not do: there,
        beacons of a page that is gone fail if they need a new connection."""
        sites = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                host = self.headers["Host"]
                if host == tracker:
                    self.pass_on(b"")
                    return
                body = sites.pages.get(host + self.path.partition("?")[0], "").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                self.pass_on(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

            def pass_on(self, body: bytes) -> None:
                sites.asked.append((self.command, self.path))
                if sites.down:
                    self.close_connection = True
                    return
                headers = {name: value for name, value in self.headers.items() if name not in ("Host", "Connection")}
                proxied = {"X-Forwarded-Host": tracker, "X-Forwarded-Proto": "https", "X-Real-IP": "81.2.69.142"}
                sites.busy += 1
                with closing(http.client.HTTPConnection(front, timeout=20)) as there:
                    there.request(self.command, self.path.removeprefix("/stats"), body or None, {**headers, **proxied})
                    answer = there.getresponse()
                    text = answer.read()
                sites.busy -= 1
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name not in ("Connection", "Content-Length"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                return

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing of connections that the browser breaks off."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
