"""HTTP as bytes: what a connection makes of them, with a hand-made transport and a hand-made door."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from front.connection import IDLE_S, LONGEST_HEAD, MOST_HEADERS, SLOWEST_S, Connection
from front.request import BROKEN, TOO_LARGE, Reply, Request

GET = b"GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\n"


class Transport(asyncio.Transport):
    """Keeps what is written, and whether it reads and is open."""

    def __init__(self) -> None:
        super().__init__({"peername": ("1.2.3.4", 5)})
        self.written = b""
        self.reading = self.open = True
        self.half_closed = False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return not self.open

    def close(self) -> None:
        self.open = False

    abort = close

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
    """A door that answers with the target, at once or when told to."""

    def __init__(self, limit: int = 1000) -> None:
        self.body_limit = limit
        self.stopping = False
        self.seen: list[Request] = []
        self.held: asyncio.Event | None = None
        self.adopted: bytes | None = None
        self.welcomed: set[Connection] = set()

    async def answer(self, request: Request) -> Reply:
        self.seen.append(request)
        if self.held is not None:
            await self.held.wait()
        return Reply(b"<%b>" % (request.fault.encode() or request.target), request.keep_alive)

    def welcome(self, connection: Connection) -> None:
        self.welcomed.add(connection)

    def forget(self, connection: Connection) -> None:
        self.welcomed.discard(connection)

    def adopt(self, transport: asyncio.Transport, data: bytes) -> None:
        self.adopted = data


def connect(host: Host) -> tuple[Connection, Transport]:
    connection, transport = Connection(host), Transport()
    connection.connection_made(transport)
    return connection, transport


async def test_a_request_in_any_pieces_is_one_request() -> None:
    """Byte by byte, headers in lower case, repeated ones joined; the peer's address is known."""
    host = Host()
    connection, transport = connect(host)
    data = b"POST /x HTTP/1.1\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 4\r\n\r\nbody"
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
    await asyncio.sleep(0.01)
    assert transport.written == b"".join(b"</%d>" % number for number in range(1000))
    assert transport.reading
    connection.data_received(GET)
    await asyncio.sleep(0)
    assert transport.written.endswith(b"</a?b=c>")


async def test_connection_close_and_http_1_0_end_the_connection() -> None:
    """After the answer, and what comes behind is not read."""
    for data in (b"GET /x HTTP/1.1\r\nConnection: close\r\n\r\n" + GET, b"GET /x HTTP/1.0\r\n\r\n"):
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
        b"POST /x HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"GET /x HTTP/1.1\nHost: h\n\n",
        b"GET /x HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        b"GET /" + b"x" * LONGEST_HEAD + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(MOST_HEADERS + 1)) + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * (LONGEST_HEAD + 1) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * LONGEST_HEAD,
    ],
    ids=["tls", "two-lengths", "other-lengths", "bare-lf", "folded", "target", "many", "long", "unfinished"],
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
    chunks = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"100\r\n" + b"x" * 256 + b"\r\n"
    for data in (b"POST /x HTTP/1.1\r\nContent-Length: 101\r\n\r\n", chunks):
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
    connection.data_received(b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"a=1")
    assert transport.written.endswith(b"</x>")
    connection, transport = connect(Host(limit=100))
    connection.data_received(b"POST /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 300\r\n\r\n")
    assert transport.written == b"<%b>" % TOO_LARGE.encode()


async def test_targets_in_raw_bytes_are_read_as_they_are_meant() -> None:
    """Old browsers do not encode them; behind such a request the next one is read as ever."""
    host = Host()
    connection, transport = connect(host)
    connection.data_received(b"GET /\xd0\xb6?q=\xe9 HTTP/1.1\r\nHost: h\r\n\r\n")
    connection.data_received(GET)
    assert [request.target for request in host.seen] == [b"/\xd0\xb6?q=\xe9", b"/a?b=c"]
    assert transport.written == b"</\xd0\xb6?q=\xe9></a?b=c>"


async def test_a_websocket_is_handed_over_with_its_handshake() -> None:
    """And with what the client sent behind it; other upgrades are plain requests."""
    host = Host()
    connection, _ = connect(host)
    handshake = b"GET /wss?uid=1 HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    connection.data_received(handshake + b"\x81\x00")
    assert host.adopted is not None
    assert host.adopted.startswith(b"GET /wss?uid=1 HTTP/1.1\r\nhost: h\r\n")
    assert host.adopted.endswith(b"\r\n\r\n\x81\x00")
    assert not host.seen
    assert not host.welcomed
    host = Host()
    connection, transport = connect(host)
    connection.data_received(b"GET /x HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET)
    assert transport.written == b"</x></a?b=c>"


async def test_idle_and_slow_clients_are_told_apart_from_busy_ones() -> None:
    """Idle too long, or a request that drips in: late. One that waits for its answer never is."""
    host = Host()
    connection, _ = connect(host)
    now = connection.heard
    assert not connection.is_late(now + IDLE_S - 1)
    assert connection.is_late(now + IDLE_S + 1)
    connection.data_received(b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
    began = connection.began
    assert began > 0
    connection.heard = began + SLOWEST_S
    assert connection.is_late(began + SLOWEST_S + 1)
    host.held = asyncio.Event()
    connection.data_received(b"123456789")
    assert not connection.is_late(began + 1000)
    host.held.set()
    await asyncio.sleep(0.01)


async def test_a_client_that_does_not_read_is_not_read_either() -> None:
    """Its answers must not gather in our memory."""
    connection, transport = connect(Host())
    connection.pause_writing()
    assert not transport.reading
    connection.resume_writing()
    assert transport.reading


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
