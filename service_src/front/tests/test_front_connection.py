"""HTTP as bytes: what a connection makes of them, with a hand-made transport and a hand-made door."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from front.http1.connection import IDLE_SECONDS, MAX_REQUEST_SECONDS, Connection
from front.http1.limits import KERNEL_OUT_BYTES, STALLED_SECONDS, Bounds, Limits
from front.http1.parser import MAX_HEAD_BYTES, MAX_HEADERS
from front.http1.request import BAD_HANDSHAKE, BROKEN, OVERLOADED, TOO_LARGE, Request, Response
from front.websocket.handshake import shake_hands, wants_websocket

GET = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HANDSHAKE = b"GET /wss?uid=1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
LIMITS = Limits(100, 100, 100, 100, 1 << 20, 1 << 20)


class Transport(asyncio.Transport):
    """Keeps what is written, and whether it reads and is open; full when told to be."""

    def __init__(self, peer: str = "1.2.3.4") -> None:
        super().__init__({"peername": (peer, 5)})
        self.written = b""
        self.unread = 0
        self.reading = self.open = True
        self.aborted = self.half_closed = False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return not self.open

    def close(self) -> None:
        self.open = False

    def abort(self) -> None:
        self.open, self.aborted = False, True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


class Host:
    """A server that answers with the target, at once or when told to."""

    def __init__(self, limit: int = 1000, limits: Limits = LIMITS) -> None:
        self.body_limit = limit
        self.stopping = False
        self.seen: list[Request] = []
        self.held: asyncio.Event | None = None
        self.upgraded: list[tuple[Request, bytes]] = []
        self.fault = ""
        self.bounds = Bounds(limits, lambda peer: peer)

    async def answer(self, request: Request) -> Response:
        self.seen.append(request)
        if self.held is not None:
            await self.held.wait()
        return Response(b"<%b>" % (request.fault.encode() or request.target), request.keep_alive)

    wants_upgrade = staticmethod(wants_websocket)

    def larger_limit(self, request: Request) -> int:
        return 5000 if request.target == b"/batch" else 0

    def upgrade(self, transport: asyncio.Transport, request: Request, rest: bytes) -> str:
        self.upgraded.append((request, rest))
        return self.fault


def connect(host: Host, peer: str = "1.2.3.4") -> tuple[Connection, Transport]:
    connection, transport = Connection(host, host.answer), Transport(peer)
    connection.connection_made(transport)
    return connection, transport


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise TimeoutError


@pytest.mark.parametrize("length", [b"Content-Length: 3000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nbb8\r\n"])
@pytest.mark.parametrize(("target", "fault"), [(b"/batch", ""), (b"/x", TOO_LARGE)])
async def test_some_requests_may_have_larger_bodies(length: bytes, target: bytes, fault: str) -> None:
    """The server says which, only when a body is over the limit of all others."""
    host = Host()
    transport = Transport()
    connection = Connection(host, host.answer)
    connection.connection_made(transport)
    end = b"\r\n0\r\n\r\n" if b"chunked" in length else b""
    connection.data_received(b"POST %b HTTP/1.1\r\nHost: h\r\n%b%b%b" % (target, length, b"x" * 3000, end))
    assert [request.fault for request in host.seen] == [fault]
    assert len(host.seen[0].body) == (0 if fault else 3000)


async def test_a_request_in_any_pieces_is_one_request() -> None:
    """Byte by byte, headers in lower case, repeated ones joined; the peer's address is known."""
    host = Host()
    connection, transport = connect(host)
    data = b"POST /x HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 4\r\n\r\nbody"
    for position in range(len(data)):
        connection.data_received(data[position : position + 1])
    assert transport.written == b"</x>"
    (request,) = host.seen
    assert (request.method, request.body, request.peer) == ("POST", b"body", "1.2.3.4")
    assert request.header(b"x-a") == "1, 2"
    assert request.header(b"nothing") is None
    assert transport.open


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    """A thousand in one read: one after the other, however slow the first is; a full queue is not read further."""
    host = Host()
    host.held = asyncio.Event()
    connection, transport = connect(host)
    connection.data_received(b"".join(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % number for number in range(1000)))
    assert len(host.seen) == 1
    assert not transport.reading
    host.held.set()
    await until(lambda: len(host.seen) == 1000 and transport.reading)
    assert transport.written == b"".join(b"</%d>" % number for number in range(1000))
    connection.data_received(GET)
    await asyncio.sleep(0)
    assert transport.written.endswith(b"</a?b=c>")


async def test_connection_close_and_http_1_0_end_the_connection() -> None:
    """After the answer, and what comes behind is not read."""
    for data in (b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + GET, b"GET /x HTTP/1.0\r\n\r\n"):
        connection, transport = connect(Host())
        connection.data_received(data)
        assert (transport.written, transport.open) == (b"</x>", False)


async def test_a_client_that_says_no_more_still_gets_its_answer() -> None:
    """A half-closed connection is closed after the answer, an idle one at once."""
    host = Host()
    host.held = asyncio.Event()
    connection, transport = connect(host)
    connection.data_received(GET)
    assert connection.eof_received() is True
    host.held.set()
    await asyncio.sleep(0.01)
    assert (transport.written, transport.open) == (b"</a?b=c>", False)
    assert connect(Host())[0].eof_received() is False


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01garbage\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"GET /x HTTP/1.1\nHost: h\n\n",
        GET[:-2] + b"X: a\r\n b\r\n\r\n",
        b"GET /" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: h\r\n\r\n",
        GET[:-2] + b"".join(b"X-%d: y\r\n" % number for number in range(MAX_HEADERS)) + b"\r\n",
        GET[:-2] + b"a:\r\n" * MAX_HEADERS + b"\r\n",
        GET[:-2] + b"X: " + b"y" * (MAX_HEAD_BYTES + 1) + b"\r\n\r\n",
        GET[:-2] + b"X: " + b"y" * MAX_HEAD_BYTES,
    ],
    ids=[
        "tls",
        "two-lengths",
        "other-lengths",
        "bare-lf",
        "folded",
        "target",
        "many",
        "repeated",
        "long",
        "unfinished",
    ],
)
async def test_what_could_be_read_in_two_ways_is_refused(data: bytes) -> None:
    """One refusal, then the connection ends; the rest of it is not read."""
    host = Host()
    connection, transport = connect(host)
    connection.data_received(data)
    connection.data_received(GET)
    assert transport.written == b"<%b>" % BROKEN.encode()
    assert transport.half_closed


async def test_an_answer_on_its_way_goes_before_the_refusal() -> None:
    """A good request, then garbage: both are answered, in their order."""
    host = Host()
    host.held = asyncio.Event()
    connection, transport = connect(host)
    connection.data_received(GET + b"\x00\x01\r\n\r\n")
    host.held.set()
    await asyncio.sleep(0.01)
    assert transport.written == b"</a?b=c><%b>" % BROKEN.encode()
    assert transport.half_closed


async def test_too_large_bodies_are_refused_before_they_have_come() -> None:
    """By their announced length or by the chunks that came; the connection lingers, so that the answer arrives."""
    chunks = CHUNKED + b"100\r\n" + b"x" * 256 + b"\r\n"
    for data in (POST + b"Content-Length: 101\r\n\r\n", chunks):
        host = Host(limit=100)
        connection, transport = connect(host)
        connection.data_received(data)
        connection.data_received(b"x" * 50)
        assert transport.written == b"<%b>" % TOO_LARGE.encode()
        assert (transport.half_closed, transport.open) == (True, True)
        assert host.seen[0].body == b""


async def test_continue_is_said_when_the_body_is_welcome() -> None:
    """Not for one that is too large."""
    connection, transport = connect(Host(limit=100))
    connection.data_received(b"POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"a=1")
    assert transport.written.endswith(b"</x>")
    connection, transport = connect(Host(limit=100))
    connection.data_received(b"POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 300\r\n\r\n")
    assert transport.written == b"<%b>" % TOO_LARGE.encode()


async def test_targets_in_raw_bytes_are_read_as_they_are_meant() -> None:
    """Old browsers do not encode them; behind such a request the next one is read as ever."""
    host = Host()
    connection, transport = connect(host)
    connection.data_received(b"GET /\xd0\xb6?q=\xe9 HTTP/1.1\r\nHost: h\r\n\r\n")
    connection.data_received(GET)
    assert [request.target for request in host.seen] == [b"/\xd0\xb6?q=\xe9", b"/a?b=c"]
    assert transport.written == b"</\xd0\xb6?q=\xe9></a?b=c>"


async def test_a_websocket_is_handed_over_with_what_follows() -> None:
    """The request, and what the client sent behind it; other upgrades are plain requests."""
    host = Host()
    connection, _ = connect(host)
    connection.data_received(HANDSHAKE + b"\x81\x00")
    ((request, rest),) = host.upgraded
    assert (request.target, rest) == (b"/wss?uid=1", b"\x81\x00")
    assert not host.seen
    assert not host.bounds.guests()
    host = Host()
    connection, transport = connect(host)
    connection.data_received(b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET)
    assert transport.written == b"</x></a?b=c>"


async def test_a_websocket_waits_for_the_answers_before_it() -> None:
    """A handshake behind requests that are being answered is no error: it is handed over after them."""
    host = Host()
    host.held = asyncio.Event()
    connection, transport = connect(host)
    connection.data_received(GET + GET + HANDSHAKE + b"\x81")
    connection.data_received(b"\x00")
    assert not host.upgraded
    host.held.set()
    await asyncio.sleep(0.01)
    assert transport.written == b"</a?b=c></a?b=c>"
    assert [rest for _, rest in host.upgraded] == [b"\x81\x00"]
    assert transport.reading


async def test_a_handshake_that_is_none_is_refused() -> None:
    """Without `Connection: Upgrade`, or when the server finds fault with it; then the connection ends."""
    host = Host()
    connection, transport = connect(host)
    connection.data_received(HANDSHAKE.replace(b"Connection: Upgrade\r\n", b""))
    assert (transport.written, host.upgraded) == (b"<%b>" % BAD_HANDSHAKE.encode(), [])
    host.fault = OVERLOADED
    connection, transport = connect(host)
    connection.data_received(HANDSHAKE)
    assert (transport.written, transport.half_closed) == (b"<%b>" % OVERLOADED.encode(), True)


async def test_idle_and_slow_clients_are_told_apart_from_busy_ones() -> None:
    """Idle too long, or a request that drips in: late. One that waits for its answer never is."""
    host = Host()
    connection, transport = connect(host)

    def is_late(now: float) -> bool:
        connection.check_timeouts(now)
        aborted, transport.aborted, transport.open = transport.aborted, False, True
        return aborted

    now = connection.last_read_at
    assert not is_late(now + IDLE_SECONDS - 1)
    assert is_late(now + IDLE_SECONDS + 1)
    connection.data_received(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
    began = connection.waits_since or 0.0
    connection.last_read_at = began + MAX_REQUEST_SECONDS
    assert is_late(began + MAX_REQUEST_SECONDS + 1)
    host.held = asyncio.Event()
    connection.data_received(b"123456789")
    assert not is_late(began + 1000)
    host.held.set()
    await asyncio.sleep(0.01)


async def test_a_client_that_does_not_read_is_not_read_either() -> None:
    """Nor answered any more, what is unread counts as held, and after a while it is cut off."""
    host = Host()
    host.held = asyncio.Event()
    connection, transport = connect(host)
    connection.data_received(GET * 3)
    transport.unread = 70_000
    connection.pause_writing()
    assert not transport.reading
    assert host.bounds.held > 70_000
    host.held.set()
    await asyncio.sleep(0.01)
    assert transport.written == b"</a?b=c>"
    connection.check_timeouts((connection.waits_since or 0) + STALLED_SECONDS - 1)
    assert transport.open
    transport.unread = 0
    connection.resume_writing()
    await asyncio.sleep(0.01)
    assert transport.written == b"</a?b=c>" * 3
    assert (transport.reading, host.bounds.held) == (True, 0)
    connection.pause_writing()
    connection.check_timeouts((connection.waits_since or 0) + STALLED_SECONDS + 1)
    assert transport.aborted


async def test_little_that_is_not_read_counts_too() -> None:
    """A look now and then finds answers that lie below the mark from which on a client is waited for."""
    host = Host()
    connection, transport = connect(host)
    connection.data_received(GET)
    transport.unread = 1000
    connection.check_timeouts(connection.last_read_at + 5)
    assert host.bounds.held == 1000 + KERNEL_OUT_BYTES
    transport.unread = 0
    connection.check_timeouts(connection.last_read_at + 10)
    assert host.bounds.held == 0


async def test_a_client_that_goes_while_its_answers_wait_leaves_nothing() -> None:
    """Nothing is held of it, nothing is answered."""
    host = Host()
    connection, transport = connect(host)
    connection.pause_writing()
    connection.data_received(GET * 3)
    transport.open = False
    connection.connection_lost(None)
    await asyncio.sleep(0.01)
    assert len(host.seen) == 1
    assert (host.bounds.held, host.bounds.guests()) == (0, [])


async def test_a_stopping_front_closes_after_the_answer() -> None:
    """Idle connections at once, busy ones when they are answered; a client that has gone is no error."""
    host = Host()
    connection, transport = connect(host)
    connection.finish()
    assert not transport.open
    host.held = asyncio.Event()
    connection, transport = connect(host)
    connection.data_received(GET)
    host.stopping = True
    connection.finish()
    assert transport.open
    host.held.set()
    await asyncio.sleep(0.01)
    assert (transport.written, transport.open) == (b"</a?b=c>", False)
    host.held = asyncio.Event()
    connection, transport = connect(host)
    connection.data_received(GET)
    connection.connection_lost(None)
    transport.open = False
    host.held.set()
    await asyncio.sleep(0.01)
    assert transport.written == b""


async def test_trailers_are_ignored_and_bounded() -> None:
    """They mean nothing here, so they are neither merged nor kept; an endless one, or endless many, are refused."""
    host = Host()
    connection, transport = connect(host)
    trailers = b"X-Real-IP: 8.8.8.8\r\nCookie: uid=1111111111\r\nHost: other\r\n"
    connection.data_received(CHUNKED + b"2\r\nab\r\n0\r\n" + trailers + b"\r\n" + GET)
    assert set(host.seen[0].headers) == {b"host", b"transfer-encoding"}
    assert (host.seen[0].body, transport.written) == (b"ab", b"</x></a?b=c>")
    for endless in (b"X-Trailer: %b\r\n" % (b"y" * 1000), b"y" * 1000, b"a:\r\n" * 200):
        host = Host()
        connection, transport = connect(host)
        connection.data_received(CHUNKED + b"0\r\nX: ")
        sent = 0
        while not transport.written and sent < 1_000_000:
            connection.data_received(endless)
            sent += len(endless)
            assert host.bounds.held < 2 * MAX_HEAD_BYTES
        assert transport.written == b"<%b>" % BROKEN.encode()
        assert sent < 2 * MAX_HEAD_BYTES


async def test_what_stands_around_a_chunk_is_bounded() -> None:
    """An endless extension of a chunk is refused; many small chunks are not, and are kept as one body."""
    host = Host(limit=10_000)
    connection, transport = connect(host)
    connection.data_received(CHUNKED + b"1;")
    while not transport.written:
        connection.data_received(b"x" * 1000)
    assert transport.written == b"<%b>" % BROKEN.encode()
    connection, transport = connect(host)
    connection.data_received(CHUNKED + b"1\r\nx\r\n" * 9_000)
    assert 9_000 < host.bounds.held < 20_000
    connection.data_received(b"0\r\n\r\n")
    assert (host.seen[-1].body, host.bounds.held) == (b"x" * 9_000, 0)


async def test_empty_lines_before_a_request_are_bounded() -> None:
    """A few are allowed; nothing but them is no request."""
    connection, transport = connect(Host())
    connection.data_received(b"\r\n\r\n" + GET)
    for _ in range(MAX_HEAD_BYTES // 1000 + 1):
        connection.data_received(b"\r\n" * 500)
    assert transport.written == b"</a?b=c><%b>" % BROKEN.encode()


async def test_a_head_is_measured_by_itself() -> None:
    """Neither the body before it in the same read nor other requests count towards it."""
    body = b"Content-Length: 60000\r\n\r\n" + b"x" * 60_000
    long_head = b"GET /y HTTP/1.1\r\nHost: h\r\nX: " + b"y" * 30_000
    for data, rest in (
        (POST + body + GET[:20], GET[20:]),
        ((POST + b"Content-Length: 5000\r\n\r\n" + b"x" * 5000) * 8 + long_head, b"\r\n\r\n"),
    ):
        host = Host(limit=100_000)
        connection, _ = connect(host)
        connection.data_received(data)
        connection.data_received(rest)
        assert not any(request.fault for request in host.seen)
        assert host.seen[-1].target in (b"/a?b=c", b"/y")


async def test_other_upgrades_raise_nothing_however_many_there_are() -> None:
    """1,200 requests for h2c in one read, or one with an address in raw bytes: all are answered."""
    h2c = b"GET /%b HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    connection, transport = connect(Host())
    connection.data_received((h2c % b"x") * 1200)
    await until(lambda: transport.written == b"</x>" * 1200)
    connection, transport = connect(Host())
    connection.data_received((h2c % b"\xd0\xb6") + GET)
    assert transport.written == b"</\xd0\xb6></a?b=c>"


async def test_an_accident_of_ours_ends_one_connection_and_tells_no_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loop would log the client's address with it."""
    host = Host()
    connection, transport = connect(host, "203.0.113.77")
    monkeypatch.setattr(host, "upgrade", None)
    connection.data_received(HANDSHAKE)
    assert transport.aborted
    logged = "".join(capsys.readouterr())
    assert "connection_failed" in logged
    assert "203.0.113.77" not in logged


async def test_several_cookies_are_one_and_several_hosts_are_none() -> None:
    """HTTP/2 clients split cookies, and a proxy may leave them so; a second Host has no honest use."""
    host = Host()
    connection, _ = connect(host)
    connection.data_received(b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=1\r\nX: 1\r\nCookie: uid=2\r\nX: 2\r\n\r\n")
    assert host.seen[0].header(b"cookie") == "a=1; uid=2"
    assert host.seen[0].header(b"x") == "1, 2"


async def test_white_space_around_a_header_is_no_part_of_it() -> None:
    """RFC 9110, 5.5: spaces and tabs, of a handshake's headers too; what is empty without them is still there."""
    host = Host(limit=3)
    connection, _ = connect(host)
    odd = b"".join(
        b"%b: \t %b \t\r\n" % (name, value) for name, value in ((b"Sec-GPC", b"1"), (b"X", b""), (b"Y", b"a b"))
    )
    connection.data_received(b"POST / HTTP/1.1\r\nHost: h \t\r\nContent-Length: 2 \t\r\n%bY: c \r\n\r\nhi" % odd)
    (request,) = host.seen
    assert request.headers == {
        b"host": b"h", b"content-length": b"2", b"sec-gpc": b"1", b"x": b"", b"y": b"a b, c",
    }  # fmt: skip
    assert request.body == b"hi"
    connection.data_received(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close \t\r\n\r\n")
    assert not host.seen[1].keep_alive
    lines = HANDSHAKE.removesuffix(b"\r\n\r\n").split(b"\r\n")
    lines += [b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    connection, _ = connect(host)
    connection.data_received(b"\r\n".join([lines[0], *(line + b" \t" for line in lines[1:]), b"", b""]))
    ((request, _),) = host.upgraded
    assert shake_hands(request) is not None


async def test_the_oldest_versions_are_served_as_far_as_they_go() -> None:
    """HTTP/1.0 needs no Host and may keep its connection."""
    connection, transport = connect(Host())
    connection.data_received(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /y HTTP/1.0\r\n\r\n")
    assert (transport.written, transport.open) == (b"</x></y>", False)


async def test_what_is_not_complete_gives_way_with_a_503() -> None:
    """An idle connection just closes; one that is being answered is closed after its answer, without what waits."""
    host = Host()
    idle, idle_transport = connect(host)
    idle.shed()
    assert (idle_transport.written, idle_transport.open) == (b"", False)
    begun, begun_transport = connect(host)
    begun.data_received(POST + b"Content-Length: 9\r\n\r\n123")
    begun.shed()
    assert (begun_transport.written, begun_transport.half_closed) == (b"<%b>" % OVERLOADED.encode(), True)
    host.held = asyncio.Event()
    busy, busy_transport = connect(host)
    busy.data_received(GET * 5 + POST)
    assert host.bounds.held > 0
    busy.shed()
    host.held.set()
    await asyncio.sleep(0.01)
    assert (busy_transport.written, busy_transport.open) == (b"</a?b=c>", False)
    assert host.bounds.held == 0


async def test_a_flood_of_pipelined_requests_is_not_read_ahead() -> None:
    """What is parsed of it is bounded, the rest stays as it came, and all of it is answered."""
    host = Host()
    host.held = asyncio.Event()
    connection, transport = connect(host)
    connection.data_received(GET * 8000)
    assert not transport.reading
    assert len(connection._waiting) < 400
    assert len(GET) * 7000 < host.bounds.held < 2 << 20
    host.held.set()
    await until(lambda: len(host.seen) == 8000 and transport.reading)
    assert transport.written == b"</a?b=c>" * 8000
    assert (host.bounds.held, transport.reading) == (0, True)


@pytest.mark.parametrize(
    "received",
    [
        GET,
        GET + GET,
        POST + b"Content-Length: 9\r\n\r\n1234",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 30_000,
        b"?",
        HANDSHAKE,
    ],
    ids=["a request", "two", "half a body", "half a head", "nonsense", "a WebSocket"],
)
async def test_a_connection_that_is_gone_leaves_nothing_to_the_garbage_collector(received: bytes) -> None:
    """The collector does not know that a few objects hold 30 kB: 5,000 such heads every ten seconds ended workers."""
    gc.collect()
    gc.disable()
    try:
        connection, transport = connect(Host())
        connection.data_received(received)
        await asyncio.sleep(0)
        connection.shed()
        connection.connection_lost(None)
        del connection, transport
        await asyncio.sleep(0)
        assert not [found for found in gc.get_objects() if type(found) is Connection]
    finally:
        gc.enable()
