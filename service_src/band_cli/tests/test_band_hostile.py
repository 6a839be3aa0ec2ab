"""What a hostile director, or a hostile service behind a good one, can do to the command and its terminal."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from band_cli import client
from band_cli.client import Director
from band_cli.errors import NoDirector
from band_cli.output import Output
from band_cli.target import Target

EVIL = "\x1b]0;x\x07\x9b2J\u202e\u2066\u200f\x7f\ud800"
"""A title and a cleared screen by C0 and C1, text that runs backwards, and half a character."""
PART = {"status": "ok" + EVIL, "reason": "r" + EVIL, "version": "1" + EVIL}
ROW = {
    "name": "n" + EVIL, "state": "s" + EVIL, "health": "failing", "health_reason": "r" + EVIL, "uptime": 1,
    "ports": [{"host": EVIL}], "data": {"warning": "w" + EVIL}, "dead_letters": 1, "runnable": True,
    "rolled_back": {"from": EVIL, "to": EVIL, "reason": EVIL},
}  # fmt: skip
CHANGED = {"name": EVIL, "state": "running" + EVIL, "short_id": "c" + EVIL, "release": EVIL}
REPLAY = {"state": "stopped" + EVIL, "replayed": 1, "rejected": EVIL, "stopped_at": EVIL, "start": EVIL, "end": EVIL}
EVENT = {"id": EVIL, "key": "k" + EVIL, "uid": EVIL, "data": {"geo": {"country_iso": EVIL, "city_en": EVIL}}}
ANSWERS: dict[str, Any] = {
    "health": {
        "status": "ok" + EVIL, "director": PART, "docker": PART, "redis": PART,
        "services": {"running": EVIL, "total": 1},
    },
    "list": [ROW], "start": CHANGED, "stop": CHANGED, "restart": CHANGED, "rm": CHANGED, "rollback": CHANGED,
    "run": CHANGED, "replay": REPLAY,
    "call": {"a" + EVIL: [EVIL], "columns": ["c" + EVIL], "types": [EVIL], "rows": [["v" + EVIL]], "truncated": False},
    "doctor": {
        "disk": {"used_percent": 95, "free_bytes": 1}, "open_ports": [{"service": EVIL, "port": EVIL, "address": EVIL}],
        "time": 0, "redis": None,
        "groups": [{"name": EVIL, "waiting": 1, "pending": 0, "oldest_seconds": 1, "service": ""}],
    },
    "releases": {
        "releases": [
            {"id": EVIL, "spec_hash": EVIL, "state": EVIL, "at": 1, "by": EVIL, "reason": EVIL, "images_present": True}
        ]
    },
    "events": {"events": [{"stream_id": "1-0", "event": EVENT}], "before": None},
    "trace": {
        "id": EVIL, "at": 1, "stream_id": EVIL, "event": EVENT, "trace": {"enrichers": {EVIL: {"ms": EVIL}}},
        "groups": [{"group": EVIL, "state": EVIL, "reason": EVIL, "ms": 1, "at": 1}],
    },
}  # fmt: skip
VERBS = [
    ["ps"], ["status"], ["doctor"], ["version"], ["run", "x"], ["start", "x"], ["stop", "x"], ["restart", "x"],
    ["rm", "x", "--yes"], ["releases", "x"], ["rollback", "x"], ["call", "x", "y"], ["events"], ["trace", "1"],
    ["replay", "x"], ["sql", "SELECT 1"], ["sql", "SELECT 1", "--csv"], ["logs", "x"],
    ["run", "x", "--verbose"], ["run", "x", "--dry-run"],
]  # fmt: skip
IDS = [" ".join(words) for words in VERBS]


class Hostile:
    """A director whose responses are what a test says: bytes, or a function that writes to the connection."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Callable[[str], bytes] = lambda _path: b"{}"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                raw = outer.body(self.path.split("/")[1].split("?")[0])
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, *_words: object) -> None:
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hostile(band: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    """A director that `band` asks from here on."""
    found = Hostile()
    monkeypatch.setenv("BAND_HOST", found.url)
    yield found
    found.stop()


@contextlib.contextmanager
def peer(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Yield the address of a server that reads what a client begins with and then talks."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    while not ended.is_set():
                        talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            thread.join(10)


def dripping(begin: bytes) -> Callable[[socket.socket], None]:
    parts = [begin]

    def talk(connection: socket.socket) -> None:
        connection.sendall(parts.pop() if parts else b" ")
        time.sleep(0.05)

    return talk


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("how", ["plain", "json", "terminal"])
@pytest.mark.parametrize("verb", VERBS, ids=IDS)
def test_nothing_foreign_reaches_the_terminal_as_a_control(
    hostile: Hostile, band: Any, monkeypatch: pytest.MonkeyPatch, verb: list[str], how: str
) -> None:
    """Neither controls (C0, C1) nor what turns the direction of text, in results and in errors."""
    if how == "terminal":
        monkeypatch.setattr(Output, "on_terminal", True)
    more = ["--json"] if how == "json" else []
    hostile.body = lambda path: EVIL.encode("utf-8", "replace") if path == "logs" else raw(ANSWERS[path])
    results = [band(*verb, *more)]
    hostile.status = 409
    hostile.body = lambda _path: raw({"error": {"code": EVIL, "message": EVIL, "hint": EVIL, "log": [EVIL]}})
    results.append(band(*verb, *more))
    for ran in results:
        assert ran.out + ran.err
        assert not set(EVIL.replace("0;x", "").replace("]", "").replace("2J", "")) & set(ran.out + ran.err)


def test_json_keeps_every_character(hostile: Hostile, band: Any) -> None:
    """As an escape of JSON where it could do harm; what people read stays readable."""
    hostile.body = lambda _path: raw({"a": EVIL, "b": "Привет"})
    ran = band("call", "x", "y", "--json")
    assert json.loads(ran.out) == {"a": EVIL, "b": "Привет"}
    assert "Привет" in ran.out


@pytest.mark.parametrize("body", [b"{}", b"[{}]", b"7", b"null", b'"x"', b"[" * 100_000, b"9" * 5000, b"\xff", b""])
@pytest.mark.parametrize("verb", VERBS, ids=IDS)
def test_unexpected_json_is_an_error_in_words(hostile: Hostile, band: Any, verb: list[str], body: bytes) -> None:
    """Whatever its shape, no traceback; the message names the address."""
    hostile.body = lambda _path: body
    for status in (200, 500):
        hostile.status = status
        ran = band(*verb)
        assert "Traceback" not in ran.err
        if ran.code:
            assert (ran.code in {1, 3}, ran.err.startswith("band: ")) == (True, True), ran


def test_completion_offers_names_only(hostile: Hostile, band: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no name of a service could be a control or a command."""
    monkeypatch.setenv("COMP_WORDS", "band logs ")
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setenv("_BAND_COMPLETE", "bash_complete")
    for body in (b"[" * 100_000, b"[7]", raw([ROW, {"name": "a\nb"}, {"name": "good"}])):
        hostile.body = lambda _path, body=body: body  # type: ignore[misc]
        ran = band()
        assert ran.out.split() == (["plain,good"] if b"good" in body else [])


def test_an_endless_response_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither JSON nor a line without an end fills the memory."""
    monkeypatch.setattr(client, "MAX_RESPONSE_BYTES", 100_000)
    monkeypatch.setattr(client, "MAX_LINE_BYTES", 1000)

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 100_000)

    with peer(endless) as address, pytest.raises(NoDirector, match="more than"):
        Director(Target(f"http://{address}")).get("/x")
    with peer(endless) as address:
        lines = Director(Target(f"http://{address}")).lines("/x")
        assert [len(next(lines)) for _ in range(3)] == [1000] * 3
        lines.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("scheme", "begin"),
    [
        ("http", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
        ("http", b"HTTP/1.1 200 OK\r\n\r\n{}"),
        ("http", b"HTTP/1.1 200 OK\r\nX: "),
        ("http", b"HTTP/1.1 500 No\r\nContent-Length: 100000\r\n\r\n"),
        ("https", b"\x16\x03\x03\x40\x00\x02\x00\x3f"),
    ],
    ids=["body", "endless body", "head", "error", "handshake"],
)
def test_a_response_that_drips_is_given_up_in_time(scheme: str, begin: bytes) -> None:
    """The time is that of the whole response, not of the pause between two bytes."""
    with peer(dripping(begin)) as address:
        began = time.monotonic()
        with pytest.raises(NoDirector, match="in time"):
            Director(Target(f"{scheme}://{address}")).get("/x", timeout=0.5)
        assert time.monotonic() - began < 4


def test_lines_that_are_not_followed_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that came are shown; that the rest did not is said."""
    monkeypatch.setattr(client, "LONG_TIMEOUT", 0.5)
    with peer(dripping(b"HTTP/1.1 200 OK\r\n\r\none\n")) as address:
        lines = Director(Target(f"http://{address}")).lines("/logs/x")
        assert next(lines) == "one"
        with pytest.raises(NoDirector, match="in time"):
            list(lines)


def test_a_run_may_last_as_long_as_it_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two builds may take longer than a response may: the time is for each step."""
    monkeypatch.setattr(client, "LONG_TIMEOUT", 0.5)
    parts = [b"four\n", b"three\n", b"two\n", b"HTTP/1.1 200 OK\r\n\r\none\n"]

    def talk(connection: socket.socket) -> None:
        if parts:
            connection.sendall(parts.pop())
            time.sleep(0.3)
        else:
            connection.shutdown(socket.SHUT_RDWR)

    with peer(talk) as address:
        assert list(Director(Target(f"http://{address}")).lines("/run/x", body={})) == ["one", "two", "three", "four"]
