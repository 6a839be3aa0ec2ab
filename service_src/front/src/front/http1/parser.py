"""A strict HTTP/1 parser on llhttp (httptools): ambiguous requests are refused.

An incomplete request is limited: its head, its trailers and the framing of chunks by `MAX_HEAD_BYTES`, its body by the
body limit. Trailers are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import httptools

from front.http1.request import BROKEN, TOO_LARGE, Headers, Request

MAX_HEAD_BYTES: Final = 32 * 1024
"""Bytes of a request line with its headers, of trailers, and of the framing of chunks."""
MAX_HEADERS: Final = 100
MAX_PIECE_BYTES: Final = 8 * 1024
"""Bytes parsed at once: few requests fit, so that few are read before the first of them is processed."""
OVERHEAD_BYTES: Final = 2048
"""What Python needs for a request that waits or is incomplete, besides its own bytes; approximately."""


_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
"""What a Host header may say: `uri-host [":" port]` of RFC 3986; it may be empty."""
_MAX_HOST_BYTES: Final = 512
_MAX_GOOD_HOSTS: Final = 256
_GOOD_HOSTS: Final = set[bytes | None]()
"""Values of Host that were looked at already."""
_SPENT: Final = httptools.HttpRequestParser(object())
"""Replaces llhttp's parser after the end."""


def _ignore(*_: object) -> None:
    """Take what a closed parser still finds."""


def _none(_: Request) -> int:
    """Return no limit of a request's own."""
    return 0


class RequestParser:
    """Parses pieces of at most `MAX_PIECE_BYTES`; passes on requests as soon as they are complete or faulty.

    After a fault, do not feed it any more.
    """

    __slots__ = (
        "_body", "_body_limit", "_continued", "_gap", "_headers", "_larger_limit", "_moved", "_now", "_on_continue",
        "_on_fault", "_on_request", "_parser", "_peer", "_raw_target", "_reading", "_repeated", "_size", "_target",
        "started_at",
    )  # fmt: skip

    def __init__(
        self,
        peer: str,
        body_limit: int,
        on_request: Callable[[Request], None],
        on_fault: Callable[[Request, str], None],
        on_continue: Callable[[], None],
        larger_limit: Callable[[Request], int] = _none,
    ) -> None:
        """`on_continue` is called if a client waits for `100 Continue` before it sends its body.

        `larger_limit` is called for a body over `body_limit`: it returns the limit of this request.
        """
        self._peer = peer
        self._body_limit = body_limit
        self._larger_limit = larger_limit
        self._on_request = on_request
        self._on_fault = on_fault
        self._on_continue = on_continue
        self._parser = httptools.HttpRequestParser(self)
        self._raw_target = b""
        self._continued: Request | None = None
        """A request whose body httptools skipped."""
        self._moved = False
        self._now = 0.0
        self.clear()

    def clear(self) -> None:
        """Forget the request that was read: the next one begins."""
        self._target = b""
        self._headers: Headers = {}
        self._body: bytes | bytearray = b""
        self._repeated = self._size = self._gap = 0
        self._reading: Request | None = None
        self.started_at = 0.0
        """When the request began that is being read, by the clock of `feed`; 0 when none is."""

    def close(self) -> None:
        """Drop the current request and all references, and accept nothing more.

        llhttp's parser holds the incomplete header and a reference to this object. Otherwise both, and the connection,
        would stay until the garbage collector finds them, which does not know how large they are.
        """
        self.clear()
        self._continued = None
        self._parser = _SPENT
        self._on_request = self._on_fault = self._on_continue = _ignore
        self._larger_limit = _none

    @property
    def held(self) -> int:
        """Approximate bytes that are held of the request being read."""
        if not self.started_at:
            return 0
        head = 0 if self._reading is None else sum(map(len, self._reading.headers.values()))
        return OVERHEAD_BYTES + self._gap + self._size + head

    @property
    def reading(self) -> Request:
        """The request that is being read, without its body; an empty one before its head is complete."""
        return self._reading or Request("", b"/", {}, self._peer)

    def feed(self, piece: bytes, now: float) -> int:
        """Parse a piece; returns how much of it was read: not all behind a request for another protocol."""
        fresh = not self.started_at
        size = len(piece)
        self._moved = False
        self._now = now
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            size = upgrade.args[0]
            self._read_skipped_body()
        except httptools.HttpParserInvalidURLError:
            return self._read_raw_target(piece, now, fresh=fresh)
        except httptools.HttpParserError:
            self._on_fault(self.reading, BROKEN)
        if self._moved:
            self._gap = 0
        else:
            self._gap += size
            if self._gap > MAX_HEAD_BYTES or len(self._headers) > MAX_HEADERS:
                self._on_fault(self.reading, BROKEN)
        return size

    def _read_skipped_body(self) -> None:
        """Read the body after a head with `Upgrade`, which httptools would parse as another request.

        It is fed a head of the same body without `Upgrade`.
        """
        request = self._continued
        if request is not None:
            length = request.headers.get(b"content-length")
            framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %b" % length
            self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % framing)

    def _read_raw_target(self, piece: bytes, now: float, *, fresh: bool) -> int:
        """Percent-encode a URL in bytes that are not ASCII, as old browsers send it.

        Only in a line that arrives in one piece and first, as such browsers send it.
        """
        line, end, rest = piece.partition(b"\r\n")
        parts = line.split(b" ")
        if not fresh or not end or len(parts) != 3 or line.isascii():
            self._on_fault(self.reading, BROKEN)
            return len(piece)
        self.clear()
        self._parser = httptools.HttpRequestParser(self)
        self._raw_target = parts[1]
        quoted = b"".join([b"%c" % byte if byte < 0x80 else b"%%%02X" % byte for byte in parts[1]])
        again = b"%b %b %b\r\n%b" % (parts[0], quoted, parts[2], rest)
        return len(piece) - len(again) + self.feed(again, now)

    # --- what llhttp finds; a ValueError is a fault of the client

    def on_message_begin(self) -> None:
        """Record when the request began."""
        self.started_at = self._now

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header without the white space around it (RFC 9110, 5.5); or a trailer, which is ignored."""
        headers = self._headers
        name = name.lower()
        value = value.strip()  # of the white space that this strips, llhttp lets only spaces and tabs pass
        if name in headers:
            value = self._joined(name, headers[name], value)
        headers[name] = value

    def _joined(self, name: bytes, known: bytes, value: bytes) -> bytes:
        self._repeated += 1
        if name == b"host" or self._repeated > MAX_HEADERS:
            raise ValueError("two hosts, or too many headers")
        return (b"%b; %b" if name == b"cookie" else b"%b, %b") % (known, value)

    def on_headers_complete(self) -> None:
        """Check the head, and whether the body may come."""
        headers, parser = self._headers, self._parser
        self._headers = {}
        if self._continued is not None:
            self._reading, self._continued = self._continued, None
            return
        if self._gap > MAX_HEAD_BYTES - MAX_PIECE_BYTES:
            _check_length(self._target, headers)
        if len(headers) + self._repeated > MAX_HEADERS:
            raise ValueError("too many headers")
        version = parser.get_http_version()
        if version != "1.1" or b"transfer-encoding" in headers or headers.get(b"host") not in _GOOD_HOSTS:
            _check_framing(version, headers)
        target = self._raw_target or self._target
        self._raw_target = b""
        request = self._reading = Request(parser.get_method().decode(), target, headers, self._peer)
        length = int(headers[b"content-length"]) if b"content-length" in headers else 0
        if length > self._body_limit and length > self._larger_limit(request):
            self._on_fault(request, TOO_LARGE)
        elif b"expect" in headers and headers[b"expect"].lower() == b"100-continue":
            self._on_continue()

    def on_body(self, body: bytes) -> None:
        """Add a part of the body, unless it is too large; many small parts are joined."""
        self._moved = True
        self._size += len(body)
        if self._size > self._body_limit and self._size > self._larger_limit(self.reading):
            self._body = b""
            self._on_fault(self.reading, TOO_LARGE)
        elif not self._body:
            self._body = body
        else:
            if type(self._body) is bytes:
                self._body = bytearray(self._body)
            self._body += body

    def on_message_complete(self) -> None:
        """Hand over a complete request."""
        request, body = self._reading, self._body
        self.clear()
        self._moved = True
        if request is None:
            return
        request.body = body if type(body) is bytes else bytes(body)
        request.keep_alive = request.keep_alive and self._parser.should_keep_alive()
        if self._parser.should_upgrade():
            if _has_body(request):
                self._continued = request
                return
            request.upgrade = True
        self._on_request(request)


def _has_body(request: Request) -> bool:
    headers = request.headers
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"").strip(b"0") != b""


def _check_length(target: bytes, headers: Headers) -> None:
    if len(target) + sum([len(name) + len(value) + 4 for name, value in headers.items()]) > MAX_HEAD_BYTES:
        raise ValueError("the head is too long")


def _check_framing(version: str, headers: Headers) -> None:
    """Raise ValueError for a head that is valid syntax and is refused all the same (RFC 9112, 3.2 and 6.1)."""
    host = headers.get(b"host")
    if version == "1.1":
        if host is None:
            raise ValueError("no host")
    elif version != "1.0" or b"transfer-encoding" in headers:
        raise ValueError("an unsupported HTTP version, or one without Transfer-Encoding")
    if host is not None:
        if len(host) > _MAX_HOST_BYTES or not _HOST.fullmatch(host):
            raise ValueError("the Host header is invalid")
        if len(_GOOD_HOSTS) < _MAX_GOOD_HOSTS and len(host) < 256:
            _GOOD_HOSTS.add(host)
    if b"transfer-encoding" in headers and headers[b"transfer-encoding"].lower() != b"chunked":
        raise ValueError("an unsupported transfer coding")
