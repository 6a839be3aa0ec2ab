"""A director and a front by hand, for the modules that speak with them, and a list of what was asked."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

RELEASE = "0123456789ab"
OLDER = "ba9876543210"
# Two releases of one image, with other settings.
IMAGE = "aaaaaaaaaaaa"


class FakeDirector:
    """Services as a table; one whose name is in `broken` fails when it is run.

    With `progress`, `/run` tells the lines of `told`, in which a number is a pause in seconds; with `cut` it ends
    before its result.
    """

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.env: dict[str, Any] = {}
        self.current: dict[str, str] = {}
        self.broken: set[str] = set()
        self.redis: dict[str, str] = {"status": "ok"}
        self.full = ""
        self.held: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.enriched: dict[str, dict[str, Any]] = {}
        self.downloads: dict[str, str] = {}
        self.told: list[str | float] = []
        self.cut = False
        self.projects: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        handler = type("Handler", (_Handler,), {"director": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def changing(self) -> list[str]:
        """The requests that changed something."""
        verbs = ("/run/", "/stop/", "/rm/", "/start/", "/rollback/", "/track/", "/prune?apply", "/projects")
        return [path for path in self.asked if path.startswith(verbs) and "dry_run" not in path]

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Return status and answer of a request."""
        self.asked.append(path)
        url = urlsplit(path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        verb, _, name = url.path.strip("/").partition("/")
        return getattr(self, f"_{verb}", self._nothing)(name, query, body)

    def _nothing(self, name: str, _query: dict[str, str], _body: dict[str, Any]) -> tuple[int, Any]:
        return 404, {"error": {"code": "http", "message": f"404 {name}", "hint": ""}}

    def _health(self, *_: Any) -> tuple[int, Any]:
        return 200, {"status": "ok", "redis": self.redis, "docker": {"status": "ok"}}

    def _state(self, _name: str, query: dict[str, str], _body: dict[str, Any]) -> tuple[int, Any]:
        if "name" not in query:
            return 200, self.services
        row = self.services.get(query["name"])
        return (200, row) if row else (404, {"error": {"code": "unknown", "message": "no such service", "hint": ""}})

    def _ask_state(self, name: str, *_: Any) -> tuple[int, Any]:
        if name not in self.downloads:
            return 504, {"error": {"code": "timed_out", "message": "no answer", "hint": ""}}
        return 200, {"health": {"checks": {"failures": {}, "database": {"download": self.downloads[name]}}}}

    def _run(self, name: str, query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        body = {key: value for key, value in body.items() if key != "progress"}
        same = self.env.get(name) == body and self.services.get(name, {}).get("wanted") == "running"
        if "dry_run" in query and name in self.held:
            return 200, {"name": name, "would": "nothing", "image": f"rockstat/{name}:1", "held": self.held[name]}
        if "dry_run" in query:
            return 200, {"name": name, "would": "nothing" if same else "build", "image": f"rockstat/{name}:{RELEASE}"}
        if name in self.broken:
            return 502, {"error": {"code": "failed", "message": "it ended", "hint": "", "log": ["its last word"]}}
        self.env[name] = body
        self.current[name] = RELEASE
        self.services[name] = {"name": name, "state": "running", "wanted": "running", "health": "ok"}
        return 200, {"name": name, "short_id": RELEASE, "state": "running"}

    def _start(self, name: str, *_: Any) -> tuple[int, Any]:
        self.services[name].update(state="running", wanted="running")
        return 200, {"name": name, "short_id": RELEASE, "state": "running"}

    def _stop(self, name: str, *_: Any) -> tuple[int, Any]:
        self.services[name].update(state="exited", wanted="stopped")
        return 200, {"name": name, "short_id": RELEASE, "state": "exited"}

    def _rm(self, name: str, *_: Any) -> tuple[int, Any]:
        self.services.pop(name, None)
        return 200, {"name": name, "state": "removed"}

    def _releases(self, name: str, *_: Any) -> tuple[int, Any]:
        if name not in self.services:
            return 404, {"error": {"code": "unknown", "message": "no such service", "hint": ""}}
        current = self.current.get(name, RELEASE)
        states = {one: "current" if one == current else "good" for one in (RELEASE, OLDER)}
        return 200, {
            "name": name,
            "releases": [{"id": IMAGE, "spec_hash": one, "state": state} for one, state in states.items()],
        }

    def _rollback(self, name: str, _query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        current = self.current.get(name, RELEASE)
        to = body.get("to", OLDER)
        if to == current:
            return 409, {"error": {"code": "conflict", "message": f"{name} has no earlier good release", "hint": ""}}
        if to not in (RELEASE, OLDER):
            return 404, {"error": {"code": "not_found", "message": f"{name} has no release {to!r}", "hint": ""}}
        if body.get("dry_run"):
            self.asked[-1] += "?dry_run"
            return 200, {"name": name, "would": "rollback", "release": IMAGE, "spec_hash": to}
        self.current[name] = to
        return 200, {"name": name, "short_id": to, "state": "running", "release": IMAGE}

    def _projects(self, _name: str, _query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        wanted = {entry["id"]: entry for entry in body["projects"]}
        if "Mars" in json.dumps(wanted):
            what = "shop: timezone: 'Mars' is not a time zone"
            return 422, {"error": {"code": "invalid_value", "message": what, "hint": "see docs"}}
        answer = {
            "created": [name for name in wanted if name not in self.projects],
            "changed": [name for name in wanted if self.projects.get(name, wanted[name]) != wanted[name]],
            "removed": [name for name in self.projects if name not in wanted],
        }
        if body["dry_run"]:
            self.asked[-1] += "?dry_run"
        else:
            self.projects = wanted
        return 200, {**answer, "unchanged": [], "dry_run": body["dry_run"]}

    def _prune(self, _name: str, query: dict[str, str], _body: dict[str, Any]) -> tuple[int, Any]:
        images = [{"image": "rockstat/old:1", "bytes": 5}]
        return 200, {"applied": "apply" in query, "images": images, "containers": [], "bytes": 5}

    def _track(self, name: str, _query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        if self.full:
            return 503, {"code": "not_accepted", "reason": self.full}
        identity = str(len(self.events) + 1)
        enriched = {one: self.enriched.get(one, {"place": 1}) for one in ("mmgeo", "sxgeo", "uaparser")}
        self.events.append({"id": identity, "name": name, "data": {**body, **enriched}})
        return 200, {"id": identity}

    def _events(self, *_: Any) -> tuple[int, Any]:
        return 200, {"events": [{"stream_id": event["id"], "event": event} for event in reversed(self.events)]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    director: FakeDirector

    def do_GET(self) -> None:
        """Answer a request without a body."""
        self._answer({})

    def do_POST(self) -> None:
        """Answer a request with a body."""
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(json.loads(raw or b"{}"))

    def _answer(self, body: dict[str, Any]) -> None:
        status, answer = self.director.answer(self.path, body)
        content = json.dumps(answer).encode()
        if body.get("progress"):
            self._stream(status, answer)
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, status: int, answer: dict[str, Any]) -> None:
        """Answer as the director does with `progress`: in chunks, 200 either way, the result as the last line."""
        if "error" in answer:
            answer["error"]["status"] = status
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in [*self.director.told, json.dumps(answer)][: -1 if self.director.cut else None]:
            if isinstance(line, float):
                time.sleep(line)
                continue
            text = f"{line}\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(text), text))
        if not self.director.cut:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""
