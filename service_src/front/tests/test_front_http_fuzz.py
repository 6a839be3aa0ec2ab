"""HTTP/1.1 and WebSocket frames as attackers and bad networks send them: any split, any bytes, every known smuggling.

All of it goes through a whole connection with a hand-made transport, without a socket.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from front.http1.connection import Connection
from front.http1.limits import Bounds, Limits
from front.http1.parser import MAX_HEAD_BYTES
from front.http1.request import BROKEN, Request, Response
from front.websocket.frames import BINARY, CONTINUATION, PING, TEXT, FrameError, FrameReader, Message
from front.websocket.handshake import wants_websocket

BODY_LIMIT = 4096
MAX_HELD = 3 * MAX_HEAD_BYTES + BODY_LIMIT
"""What one connection may hold that is not full of pipelined requests; the longest piece below counts too."""
GET = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
FUZZ = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "150")), deadline=None, database=None)
"""150 take some seconds; FUZZ_EXAMPLES=20000 is for a night."""


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 5)})
        self.written = b""
        self.open = True

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return not self.open

    def close(self) -> None:
        self.open = False

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Host:
    """Takes every request, at once or after a turn of the loop."""

    def __init__(self, *, slow: bool) -> None:
        self.body_limit = BODY_LIMIT
        self.stopping = False
        self.seen: list[Request] = []
        self.slow = slow
        self.upgraded = b""
        self.max_held = 0
        self.bounds = Bounds(Limits(10, 10, 10, 10, 1 << 30, 1 << 30), lambda peer: peer)

    async def answer(self, request: Request) -> Response:
        self.seen.append(request)
        if self.slow:
            await asyncio.sleep(0)
        return Response(b"<%d>" % len(self.seen), request.keep_alive)

    wants_upgrade = staticmethod(wants_websocket)

    def larger_limit(self, request: Request) -> int:
        return BODY_LIMIT

    def upgrade(self, transport: asyncio.Transport, request: Request, rest: bytes) -> str:
        self.seen.append(request)
        self.upgraded = rest
        return ""


def send(pieces: Iterable[bytes], *, slow: bool = False) -> Host:
    """Serve one connection that sends these pieces."""

    async def serve() -> Host:
        host = Host(slow=slow)
        connection = Connection(host, host.answer)
        connection.connection_made(Transport())
        for piece in pieces:
            connection.data_received(piece)
            host.max_held = max(host.max_held, host.bounds.held)
            if slow:
                await asyncio.sleep(0)
        for _ in range(1000):
            if connection.busy:
                await asyncio.sleep(0)
        return host

    return asyncio.run(serve())


def said(host: Host) -> list[tuple[Any, ...]]:
    """What events are made of, request by request."""
    return [(one.method, one.target, one.headers, one.body, one.keep_alive, one.fault) for one in host.seen]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces that end at these places."""
    ends = [*sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if begin < end]


TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_!#$%&'*+.^`|~", min_size=1, max_size=12).map(str.encode)
VALUE = st.text("abc xyz/;=,\"'()<>@?\t", max_size=30).map(lambda text: text.strip().encode())
RESERVED = {
    b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect", b"cookie", b"keep-alive",
    b"proxy-connection",
}  # fmt: skip
HEADERS = st.lists(st.tuples(TOKEN, VALUE).filter(lambda pair: pair[0].lower() not in RESERVED), max_size=6)
TARGET = st.text("abc/.%20?&=[]~", max_size=40).map(lambda text: b"/" + text.encode())
BODY = st.binary(max_size=300)
CHUNKS = st.lists(st.binary(min_size=1, max_size=60), max_size=8)


def lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(b"%b:%b%b\r\n" % (name, b" " if value else b"", value) for name, value in headers)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One valid request: with or without a body, by length or in chunks, with cookies, trailers, other upgrades."""
    headers = [*draw(HEADERS), (b"Host", draw(st.sampled_from([b"h", b"t.example.com:8080", b"[::1]", b""])))]
    headers += [
        (b"Cookie", value) for value in draw(st.lists(st.sampled_from([b"uid=1234567890", b"a=b"]), max_size=3))
    ]
    if draw(st.integers(0, 9)) == 0:
        headers += [(b"Connection", b"Upgrade"), (b"Upgrade", b"h2c")]
    kind = draw(st.sampled_from(["none", "length", "chunks"]))
    body = b""
    if kind == "length":
        body = draw(BODY)
        headers.append((b"Content-Length", b"%d" % len(body)))
    elif kind == "chunks":
        headers.append((b"Transfer-Encoding", draw(st.sampled_from([b"chunked", b"Chunked"]))))
        extension = draw(st.sampled_from([b"", b";a=b", b';name="quoted text"']))
        body = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in draw(CHUNKS))
        body += b"0\r\n%b\r\n" % lines(draw(HEADERS))
    draw(st.randoms()).shuffle(headers)
    method = draw(st.sampled_from([b"GET", b"POST", b"OPTIONS", b"HEAD", b"DELETE"]))
    before = draw(st.sampled_from([b"", b"", b"\r\n"]))
    return b"%b%b %b HTTP/1.1\r\n%b\r\n%b" % (before, method, draw(TARGET), lines(headers), body)


@FUZZ
@given(st.lists(requests(), min_size=1, max_size=6), st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
def test_any_split_of_any_pipeline_gives_the_same_events(pipeline: list[bytes], places: list[int], slow: bool) -> None:
    """Requests that are valid are never refused, however they come; each arrives as it would alone."""
    data = b"".join(pipeline)
    whole = said(send([data]))
    assert [fault for *_, fault in whole] == [""] * len(pipeline)
    assert whole == [said(send([request]))[0] for request in pipeline]
    assert said(send(cut(data, places), slow=slow)) == whole
    assert said(send([data[at : at + 1] for at in range(len(data))], slow=slow)) == whole


@FUZZ
@given(st.lists(requests(), max_size=3), st.binary(max_size=20), st.lists(st.integers(0, 2000), max_size=5))
def test_any_split_of_a_handshake_hands_the_same_bytes_over(
    pipeline: list[bytes], frames: bytes, places: list[int]
) -> None:
    """A WebSocket may stand behind other requests; what follows it goes with it, to the byte."""
    handshake = b"GET /wss?uid=1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    data = b"".join(pipeline) + handshake
    host = send([*cut(data, places)[:-1], cut(data, places)[-1] + frames], slow=True)
    assert [fault for *_, fault in said(host)] == [""] * (len(pipeline) + 1)
    assert (host.seen[-1].target, host.upgraded) == (b"/wss?uid=1", frames)


@FUZZ
@given(st.lists(st.one_of(st.binary(max_size=200), requests(), TOKEN, st.just(b"\r\n")), max_size=20), st.booleans())
def test_random_bytes_raise_nothing_and_hold_little(pieces: list[bytes], slow: bool) -> None:
    """Whatever comes, in whatever order: no exception, and no more is kept than a head and a body may have."""
    assert send(pieces, slow=slow).max_held <= MAX_HELD


@FUZZ
@given(requests(), st.integers(0, 10_000), st.binary(min_size=1, max_size=3), st.integers(0, 3))
def test_a_damaged_request_raises_nothing(request_: bytes, place: int, inserted: bytes, dropped: int) -> None:
    """Bytes put in or left out anywhere: it is one request, or another, or refused; what it says is never more."""
    at = place % len(request_)
    damaged = request_[:at] + inserted + request_[at + dropped :]
    host = send([damaged, GET])
    assert host.max_held <= MAX_HELD
    assert sum(len(one.body) for one in host.seen) <= len(damaged) + len(GET)
    assert len([one for one in host.seen if one.fault]) <= 1


HEAD = b"POST /x HTTP/1.1\r\nHost: h\r\n"
TE = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MALFORMED = {
    # RFC 9112, 3: the request line
    "lower-case method": b"get / HTTP/1.1\r\nHost: h\r\n\r\n",
    "no version": b"GET /\r\nHost: h\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/0.9 written out": b"GET / HTTP/0.9\r\nHost: h\r\n\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: h\r\n\r\n",
    "lower-case version": b"GET / http/1.1\r\nHost: h\r\n\r\n",
    "space behind the version": b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
    "tab in the line": b"GET /\tHTTP/1.1\r\nHost: h\r\n\r\n",
    "NUL in the target": b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
    "relative target": b"GET x HTTP/1.1\r\nHost: h\r\n\r\n",
    "a response": b"HTTP/1.1 200 OK\r\nHost: h\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    # 2.2, 5: lines and fields
    "bare LF": b"GET / HTTP/1.1\nHost: h\n\n",
    "bare CR": b"GET / HTTP/1.1\rHost: h\r\r",
    "CR in a value": b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
    "LF in a value": b"GET / HTTP/1.1\r\nHost: h\r\nX: a\nEvil: b\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
    "space before the first field": b"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
    "folded field": b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
    "space before the colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n",
    "a name that is no token": b"GET / HTTP/1.1\r\nHost: h\r\nX(y): z\r\n\r\n",
    "a name in UTF-8": b"GET / HTTP/1.1\r\nHost: h\r\n\xd0\xb6: z\r\n\r\n",
    # 3.2: Host
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two equal Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
    "two Hosts of HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "Host with user": b"GET / HTTP/1.1\r\nHost: user@h\r\n\r\n",
    "Host with path": b"GET / HTTP/1.1\r\nHost: h/path\r\n\r\n",
    "Host of two words": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "Host with a port that is none": b"GET / HTTP/1.1\r\nHost: h:http\r\n\r\n",
    "a handshake without Host": b"GET /wss?uid=1 HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    # 6: how long the body is
    "both lengths": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other way": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "two equal lengths": HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
    "an empty length": HEAD + b"Content-Length:\r\n\r\n",
    "a length with a sign": HEAD + b"Content-Length: +3\r\n\r\nabc",
    "a negative length": HEAD + b"Content-Length: -3\r\n\r\nabc",
    "a hexadecimal length": HEAD + b"Content-Length: 0x3\r\n\r\nabc",
    "a length with a space": HEAD + b"Content-Length: 1 0\r\n\r\nabcdefghij",
    "a length beyond 64 bits": HEAD + b"Content-Length: 18446744073709551619\r\n\r\nabc",
    "a length beyond Python's": HEAD + b"Content-Length: " + b"0" * 5000 + b"3\r\n\r\nabc",
    "HTTP/1.0 with chunks": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "a coding before chunks": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding behind chunks": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "identity": HEAD + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc",
    "chunks twice": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks in two fields": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks hidden by a control": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks in quotes": HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "chunks misspelt": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    # 7.1: chunks
    "0x before a chunk's size": TE + b"0x2\r\nab\r\n0\r\n\r\n",
    "a sign before a chunk's size": TE + b"+2\r\nab\r\n0\r\n\r\n",
    "a negative chunk": TE + b"-2\r\nab\r\n0\r\n\r\n",
    "an underscore in a chunk's size": TE + b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "space behind a chunk's size": TE + b"2 \r\nab\r\n0\r\n\r\n",
    "space before a chunk's size": TE + b" 2\r\nab\r\n0\r\n\r\n",
    "no chunk's size": TE + b"\r\nab\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": TE + b"10000000000000002\r\nab\r\n0\r\n\r\n",
    "LF behind a chunk's size": TE + b"2\nab\r\n0\r\n\r\n",
    "LF behind a chunk": TE + b"2\r\nab\n0\r\n\r\n",
    "a chunk that is longer than it says": TE + b"2\r\nabc\r\n0\r\n\r\n",
    "a chunk without its end": TE + b"2\r\nab0\r\n\r\n",
    "LF in a chunk's extension": TE + b"2;a\nb\r\nab\r\n0\r\n\r\n",
    "NUL in a chunk's extension": TE + b"2;\0\r\nab\r\n0\r\n\r\n",
    "a length among the trailers": TE + b"0\r\nContent-Length: 30\r\n\r\n",
    "a trailer that is none": TE + b"0\r\nGET / HTTP/1.1\r\n\r\n",
    "LF behind the last chunk": TE + b"0\n\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_could_be_read_in_two_ways_is_refused(data: bytes) -> None:
    """Whole, byte by byte and behind a good request: one refusal, and nothing that follows is read."""
    for pieces in ([data + GET], [data, GET], [data[at : at + 1] for at in range(len(data))] + [GET]):
        seen = said(send(pieces))
        assert [fault for *_, fault in seen] == [BROKEN], data
    behind = said(send([GET + data + GET], slow=True))
    assert [fault for *_, fault in behind] == ["", BROKEN]


def test_the_costliest_requests_take_no_time_to_speak_of() -> None:
    """Of what one connection may send before it is refused or answered; most of a second would be an attack."""
    headers = b"".join(b"x:\r\n" for _ in range(90))
    for data in (
        b"\r\n" * 20_000,
        b"GET / HTTP/1.1\r\nHost: h\r\n" + b"x:\r\n" * 60_000,
        b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(b"%d:\r\n" % number for number in range(30_000)),
        TE + b"0\r\n" + b"x:\r\n" * 60_000,
        TE + b"1\r\nx\r\n" * 4000 + b"0\r\n\r\n",
        (b"GET / HTTP/1.1\r\nHost: h\r\n" + headers + b"\r\n") * 500,
        (b"GET / HTTP/1.1\r\nHost:h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n") * 3000,
    ):
        for size in (len(data), 100):
            began = time.process_time()
            send([data[at : at + size] for at in range(0, len(data), size)])
            assert time.process_time() - began < 0.5, data[:60]


# --- WebSocket frames

LIMIT = 1000


def masked(opcode: int, payload: bytes, *, final: bool = True, mask: bytes = b"\x01\x02\x03\x04") -> bytes:
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    body = bytes([byte ^ mask[at % 4] for at, byte in enumerate(payload)])
    return bytes([(0x80 if final else 0) | opcode]) + length + mask + body


def read(pieces: Iterable[bytes]) -> list[Message | int]:
    """The messages in these pieces, or the code that the connection ends with."""
    reader, found = FrameReader(LIMIT, unpack=True), list[Message | int]()
    for piece in pieces:
        reader.feed(piece)
        try:
            while (message := reader.next()) is not None:
                found.append(message)
        except FrameError as error:
            return [*found, error.code]
        assert reader.held <= LIMIT + 14 + len(piece)
    return found


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, list[Message]]:
    """A message in frames, with pings between them; and what is read of it."""
    opcode = draw(st.sampled_from([TEXT, BINARY]))
    payload = draw(st.text(max_size=100)).encode() if opcode == TEXT else draw(st.binary(max_size=LIMIT))
    parts = cut(payload, draw(st.lists(st.integers(0, LIMIT), max_size=4))) or [b""]
    data, pings = b"", list[Message]()
    for number, part in enumerate(parts):
        if draw(st.booleans()):
            pings.append(Message(PING, draw(st.binary(max_size=125))))
            data += masked(PING, pings[-1].payload)
        mask = draw(st.binary(min_size=4, max_size=4))
        data += masked(CONTINUATION if number else opcode, part, final=number == len(parts) - 1, mask=mask)
    return data, [*pings, Message(opcode, payload)]


@FUZZ
@given(st.lists(messages(), max_size=5), st.lists(st.integers(0, 10_000), max_size=12))
def test_any_split_of_any_frames_gives_the_same_messages(
    sent: list[tuple[bytes, list[Message]]], places: list[int]
) -> None:
    """Fragments, pings between them, any masks."""
    data = b"".join(one for one, _ in sent)
    expected = [message for _, found in sent for message in found]
    assert read([data]) == expected
    assert read(cut(data, places)) == expected
    assert read([data[at : at + 1] for at in range(len(data))]) == expected


@FUZZ
@given(st.lists(st.one_of(st.binary(max_size=300), messages().map(lambda one: one[0])), max_size=10))
def test_random_frames_end_a_connection_at_most(pieces: list[bytes]) -> None:
    """Every error has a code that clients may be told, and comes no later in pieces than in one."""
    data = b"".join(pieces)
    found = read(pieces)
    assert read([data]) == found
    assert all(code in (1002, 1007, 1009) for code in found if isinstance(code, int))
