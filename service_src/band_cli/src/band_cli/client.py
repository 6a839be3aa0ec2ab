"""The director's HTTP API: one request, its response as JSON or line by line, its errors as exceptions."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from band_cli import __version__
from band_cli.errors import BadInput, CliError, NoDirector, Refused
from band_cli.target import Target

TIMEOUT = 15.0
"""Timeout of a response in seconds; building and starting have longer ones."""
LONG_TIMEOUT = 1200.0
MAX_RESPONSE_BYTES = 128 * 1024 * 1024
"""1,000 events of 100 kB each, the most that one response of a director has, and some more."""
MAX_LINE_BYTES = 1024 * 1024
"""The length from which a line is shown in parts."""
_CLOSED = frozenset({401, 403, 429})
VERBS = {
    "list": "band ps",
    "show": "band ps",
    "health": "band status",
    "doctor": "band doctor",
    "events": "band events",
    "dead_letters": "band call {name} dead_letters",
    "replay_dead_letters": "band call {name} replay_dead_letters",
    "delete_dead_letters": "band call {name} delete_dead_letters",
    **{
        verb: f"band {verb} {{name}}"
        for verb in ("call", "logs", "releases", "replay", "restart", "rm", "rollback", "run", "start", "stop", "trace")
    },
}
"""Path of the director → the command to type. Hints with other paths stay as they are."""
_OF_PROJECTS = re.compile(
    r"(?:GET|POST) /projects\b(?:/(?P<id>[\w-]+))?"
    r"(?:/keys with (?:\{\"kind\": \"(?P<kind>\w+)\"\}|(?P<removes>`remove`)))?"
)
_OPTIONS = {"?to=": " --to", "?follow=1": " -f"}


class Director:
    """A client of one director. Each request has its own connection; `answered` once a response has begun."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.answered = False

    def get(
        self, path: str, query: Mapping[str, Any] | None = None, *, timeout: float = TIMEOUT, also: int = 200
    ) -> Any:
        """Return the JSON of a GET with the status 200, or `also`; see `_request` for what it raises."""
        return self._json("GET", _with_query(path, query), None, timeout, also)

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float = LONG_TIMEOUT) -> Any:
        """Return the JSON of a POST with a JSON body."""
        return self._json("POST", path, dict(body or {}), timeout)

    def lines(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        *,
        follow: bool = False,
    ) -> Iterator[str]:
        """Yield the lines of a response as they come: all within LONG_TIMEOUT, or each where a POST has much to do.

        With `follow` there is no limit.
        """
        verb, steps = ("GET", False) if body is None else ("POST", True)
        whole = _with_query(path, query)
        with self._request(verb, whole, body, LONG_TIMEOUT, follow=follow, steps=steps) as response:
            try:
                while raw := response.readline(MAX_LINE_BYTES):
                    yield raw.decode("utf-8", "replace").rstrip("\n")
            except (OSError, http.client.HTTPException) as error:
                raise NoDirector(
                    f"the connection to {self.target.url} was lost: {error or type(error).__name__}", "run it again"
                ) from error

    def _json(self, verb: str, path: str, body: Mapping[str, Any] | None, timeout: float, also: int = 200) -> Any:
        with self._request(verb, path, body, timeout, also) as response:
            try:
                raw = response.read(MAX_RESPONSE_BYTES + 1)
                if len(raw) > MAX_RESPONSE_BYTES:
                    raise NoDirector(
                        f"{self.target.url} sent more than {MAX_RESPONSE_BYTES >> 20} MiB, and the rest was not read",
                        "ask for less (-n, limit:=); is it the address of a director?",
                    )
                if response.length:
                    raise http.client.IncompleteRead(raw, response.length)
                return json.loads(raw)
            except TimeoutError as error:
                raise self._away(error) from error
            except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
                raise NoDirector(
                    f"{self.target.url} did not send JSON: {error}", "is it the address of a director?"
                ) from error

    @contextlib.contextmanager
    def _request(
        self,
        verb: str,
        path: str,
        body: Mapping[str, Any] | None,
        timeout: float,
        also: int = 200,
        *,
        follow: bool = False,
        steps: bool = False,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request and return its successful response, which has to end within `timeout`.

        Where it comes in `steps`, `timeout` is for each of them; with `follow` it is for the head.

        Raises:
            NoDirector: nothing responds in time, the token is refused, or it is not a director.
            Refused: the director responded with an error.
        """
        connection = self._connect(timeout)
        deadline, response = _Deadline(connection, timeout), None
        try:
            try:
                connection.connect()
                deadline.socket = connection.sock
                connection.request(verb, self._base() + path, *self._content(body))
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise self._away(error) from error
            self.answered = True
            if response.status not in {200, also}:
                raise self._refusal(response)
            if follow or steps:
                deadline.cancel()
            if follow:
                deadline.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                deadline.socket.settimeout(None)
            yield response
            if deadline.passed:  # what ends with its connection seems to be whole
                raise self._away(TimeoutError())
        except CliError as error:
            if deadline.passed:
                raise self._away(TimeoutError()) from error
            raise
        finally:
            deadline.cancel()
            connection.close()
            if response is not None:  # it has the socket where it ends with the connection
                response.close()

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.target.url)
        assert parts.hostname  # noqa: S101 - find_target looked
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
        try:
            context = ssl.create_default_context(cafile=self.target.ca_file or None)
        except OSError as error:
            raise BadInput(
                f"the CA file {self.target.ca_file} cannot be read: {error}",
                "name a file with certificates in PEM form",
            ) from error
        return _TlsConnection(parts.hostname, parts.port, timeout=timeout, context=context)

    def _base(self) -> str:
        return urlsplit(self.target.url).path

    def _content(self, body: Mapping[str, Any] | None) -> tuple[bytes | None, dict[str, str]]:
        headers = {"User-Agent": f"band/{__version__}", "Accept": "application/json, text/plain"}
        if self.target.token:
            headers["Authorization"] = f"Bearer {self.target.token}"
        if body is None:
            return None, headers
        return json.dumps(body).encode(), {**headers, "Content-Type": "application/json"}

    def _away(self, error: Exception) -> NoDirector:
        url = self.target.url
        if isinstance(error, ssl.SSLCertVerificationError):
            return NoDirector(
                f"the certificate of {url} is not trusted: {error.verify_message}",
                "if a CA of your own issued the proxy's certificate, pass its file with --ca-file or BAND_CA_FILE",
            )
        if isinstance(error, TimeoutError):
            return NoDirector(
                f"{url} did not respond in time", "is the host overloaded? docker logs director may say more"
            )
        return NoDirector(
            f"no director responds at {url}: {error or type(error).__name__}",
            "docker logs director on its host says why; --host selects another host",
        )

    def _refusal(self, response: http.client.HTTPResponse) -> NoDirector | Refused:
        status, raw = response.status, b""
        with contextlib.suppress(OSError, http.client.HTTPException):
            raw = response.read(1_000_000)
        try:
            facts = json.loads(raw)["error"]
            code, message, hint = str(facts["code"]), str(facts["message"]), str(facts["hint"])
            log = [str(line) for line in facts.get("log") or ()]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            hint = _HINTS.get(status, "is that the address of a director? Behind a proxy, the director may be down")
            return NoDirector(f"{self.target.url} responded with {status} {response.reason}", hint, f"http_{status}")
        if status in _CLOSED:
            wanted = code.startswith("token_")
            return NoDirector(message, "use --token-file, or BAND_TOKEN" if wanted else in_our_words(hint), code)
        return Refused(message, in_our_words(hint), code, log)


class _TlsConnection(http.client.HTTPSConnection):
    """Sets its socket before the handshake, so that a deadline can end the handshake too."""

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        context: ssl.SSLContext = self._context  # type: ignore[attr-defined]
        self.sock = context.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock.do_handshake()


class _Deadline:
    """Ends a connection at a deadline: a socket's own timeout starts again with each byte."""

    def __init__(self, connection: http.client.HTTPConnection, seconds: float) -> None:
        self.passed = False
        self.socket: Any = None
        """The connection's own, which it forgets where the response ends with it."""
        self._connection = connection
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.passed = True
        held = self.socket or self._connection.sock
        with contextlib.suppress(OSError):
            if held is not None:
                # Not that of the TLS socket, which takes away what the reader uses.
                socket.socket.shutdown(held, socket.SHUT_RDWR)


_HINTS = {
    301: "the proxy requires HTTPS: --host https://…",
    401: "the proxy requires a password or a token: put band_token into a file and pass it with --token-file",
    429: "the proxy limits the rate of requests; wait a few seconds",
}


def path_of(*words: str) -> str:
    """Return a path of these words, percent-encoded."""
    return "/" + "/".join(quote(word, safe="") for word in words)


def in_our_words(hint: str) -> str:
    """Return a hint of the API with the verbs of `band`."""
    words = _OF_PROJECTS.sub(_as_project_verb, hint)
    words = re.sub(r"GET (/([a-z_]+(?:\.json)?)(?:/([\w<>-]+))?)(\?\w+=[\w-]*)?", _as_verb, words)
    return words.replace("timeout__", "--timeout")


def _as_project_verb(match: re.Match[str]) -> str:
    project_id, kind, removes = match["id"], match["kind"], match["removes"]
    if kind or removes:
        return f"band project key {project_id} {kind or '--remove KEY'}"
    return f"band project show {project_id}" if project_id else "band project list"


def _as_verb(match: re.Match[str]) -> str:
    path, endpoint, name, query = match.groups(default="")
    if endpoint not in VERBS:
        return f"the director's {path}{query}"
    return VERBS[endpoint].format(name=name).rstrip() + _OPTIONS.get(query, query)


def _with_query(path: str, query: Mapping[str, Any] | None) -> str:
    given = {key: value for key, value in (query or {}).items() if value not in (None, "", False)}
    return f"{path}?{urlencode(given)}" if given else path
