"""A client of the director's HTTP API for modules; errors say what, why and what to do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from http.client import HTTPException, RemoteDisconnected
from typing import Any
from urllib.error import HTTPError, URLError

from ansible.module_utils.urls import open_url

# A Redis that refuses writes does not recover by waiting: its memory or its disk is full.
REFUSES_FOR = 10.0


class DirectorError(Exception):
    """The director refused, failed or did not respond. `status` is 0 if there was no response at all."""

    def __init__(self, message: str, status: int = 0, log: list[str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.log = log or []


def connection_spec() -> dict[str, dict[str, Any]]:
    """Return the arguments of every module that calls the director."""
    return {
        "url": {"type": "str", "default": "http://127.0.0.1:10000"},
        "token": {"type": "str", "no_log": True, "default": ""},
    }


class Director:
    """A director at an address, without a proxy: it listens on loopback."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/")
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, timeout: float = 10.0) -> Any:
        """GET a path; returns the response as JSON or else as text.

        Raises:
            DirectorError: it did not respond, or responded with an error.
        """
        return self._request("GET", path, None, timeout)

    def post(self, path: str, body: dict[str, Any] | None = None, timeout: float = 10.0) -> Any:
        """POST a JSON object to a path; raises as `get` does."""
        return self._request("POST", path, json.dumps(body or {}), timeout)

    def follow(self, path: str, body: dict[str, Any], timeout: float, tell: Callable[[str], None]) -> Any:
        """POST with `progress`, and `tell` each line of it; returns and raises as `post` does."""
        outcome: list[Any] = []

        def read() -> None:
            text = json.dumps({**body, "progress": True})
            try:
                outcome.append(self._request("POST", path, text, timeout, partial(_last_line, path, tell)))
            except Exception as error:  # noqa: BLE001 - raised again below, in the caller's thread
                outcome.append(error)

        # `timeout` limits the whole call; the time-out of the socket starts again with each line.
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        reader.join(timeout)
        answer = outcome[0] if outcome else self._no_answer("POST", path, "timed out")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(self, seconds: float, pause: float = 0.25) -> dict[str, Any]:
        """Wait until the director is available and has loaded the desired state; returns its health.

        Raises:
            DirectorError: it was not within this time.
        """
        begun = time.monotonic()
        while True:
            patience = seconds
            try:
                health = self.get("/health", timeout=5.0)
                redis = health.get("redis", {}) if isinstance(health, dict) else {}
                if redis.get("status") == "ok":
                    return dict(health)
                problem = f"Redis is {redis.get('status', 'missing')}: {redis.get('reason') or json.dumps(health)}"
                if redis.get("status") == "failing":
                    patience = min(seconds, REFUSES_FOR)
            except DirectorError as error:
                problem = str(error)
            if time.monotonic() - begun >= patience:
                raise DirectorError(f"The director at {self._url} was not ready within {patience:g} s: {problem}")
            time.sleep(pause)

    def _request(
        self, method: str, path: str, body: str | None, timeout: float, read: Callable[[Any], Any] | None = None
    ) -> Any:
        try:
            answer = open_url(
                self._url + path, method=method, data=body, headers=self._headers, timeout=timeout, use_proxy=False
            )
            return read(answer) if read else _read(answer.read())
        except HTTPError as error:
            raise _refused(method, path, error.code, _read(error.read())) from error
        except (URLError, OSError, ValueError) as error:  # a URL that is none
            reason = getattr(error, "reason", error)
            raise self._no_answer(method, path, reason) from error

    def _no_answer(self, method: str, path: str, reason: object) -> DirectorError:
        return DirectorError(f"The director at {self._url} does not answer {method} {path}: {reason}")


def _read(raw: bytes) -> Any:
    text = raw.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _last_line(path: str, tell: Callable[[str], None], answer: Any) -> Any:
    """Pass on the lines of a response with `progress`; return the last one, which is the result or an error."""
    last = ""
    try:
        for raw in answer:
            last = raw.decode("utf-8", "replace").strip()
            if last and not last.startswith("{"):
                tell(last)
    except HTTPException:
        last = ""  # the director ended meanwhile
    found = _read(last.encode())
    if not isinstance(found, dict):
        raise RemoteDisconnected("Remote end closed connection without response")
    if "error" in found:
        raise _refused("POST", path, int(found["error"].get("status", 500)), found)
    return found


def _refused(method: str, path: str, status: int, answer: Any) -> DirectorError:
    error = answer.get("error", {}) if isinstance(answer, dict) else {}
    message = error.get("message") or str(answer)[:500]
    hint = f" ({error['hint']})" if error.get("hint") else ""
    log = error.get("log") or []
    return DirectorError(f"{method} {path} answered {status}: {message}{hint}", status, [str(line) for line in log])
