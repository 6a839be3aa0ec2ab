"""A WebSocket as bytes, with a hand-made transport: handshakes, whoever is slow, and goodbyes."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from front.http1.limits import KERNEL_IN_BYTES, KERNEL_OUT_BYTES, STALLED_SECONDS, Bounds, Limits
from front.http1.request import Request
from front.websocket.connection import HEARTBEAT_SECONDS, MAX_AHEAD_BYTES, MAX_MESSAGE_SECONDS, WebSocket
from front.websocket.frames import CLOSE, PING, PONG, TEXT, FrameError, FrameReader, close_frame, frame
from front.websocket.handshake import shake_hands

LIMIT = 1000
KEPT = 100


class Transport(asyncio.Transport):
    """Keeps what is written, and whether it reads and is open."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unread = 0
        self.reading = self.open = True
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return not self.open

    def close(self) -> None:
        self.open = False

    def abort(self) -> None:
        self.open, self.aborted = False, True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Service:
    """Answers in capitals, at once or when told to."""

    def __init__(self) -> None:
        self.bounds = Bounds(Limits(9, 9, 9, 9, 1 << 20, 1 << 20), lambda peer: peer)
        self.held: asyncio.Event | None = None
        self.seen: list[bytes] = []
        self.errors = 0

    async def answer(self, payload: bytes) -> bytes:
        self.seen.append(payload)
        if self.held is not None:
            await self.held.wait()
        return payload.upper()

    def count_error(self) -> None:
        self.errors += 1

    def connect(self) -> tuple[WebSocket, Transport]:
        transport = Transport()
        reader = FrameReader(LIMIT, unpack=True)
        socket = WebSocket(self.bounds, transport, "", self.answer, self.count_error, reader, KEPT)
        assert self.bounds.websockets.admit(socket, 0.0)
        socket.begin(b"")
        return socket, transport


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise TimeoutError


def sent(opcode: int, payload: bytes, *, first: int = 0x80) -> bytes:
    """A frame of a client, with a mask of zeros."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return bytes([first | opcode]) + length + b"\0\0\0\0" + payload


async def test_messages_are_answered_in_their_order_and_not_read_far_ahead() -> None:
    """While one is worked on, what follows waits as bytes; when that is much, reading stops."""
    service = Service()
    service.held = asyncio.Event()
    socket, transport = service.connect()
    socket.data_received(sent(TEXT, b"a") * 5000)
    assert (service.seen, transport.reading) == ([b"a"], False)
    assert MAX_AHEAD_BYTES < service.bounds.held <= KEPT + 7 * 5000 + KERNEL_IN_BYTES
    service.held.set()
    await until(lambda: len(service.seen) == 5000 and transport.reading)
    assert transport.written == frame(TEXT, b"A") * 5000
    assert (transport.reading, service.bounds.held) == (True, KEPT)


async def test_pings_are_answered_and_a_flood_of_them_lets_others_live() -> None:
    """Some at a time, in between everybody else; a client that reads no pongs is not sent any more."""
    service = Service()
    socket, transport = service.connect()
    socket.data_received(sent(PING, b"there?") + sent(PONG, b"") + sent(TEXT, b"x"))
    assert transport.written == frame(PONG, b"there?") + frame(TEXT, b"X")
    transport.written = b""
    socket.data_received(sent(PING, b"") * 10_000)
    assert 0 < len(transport.written) < 2 * 1000
    await until(lambda: len(transport.written) == 2 * 10_000)
    assert transport.written == frame(PONG, b"") * 10_000
    transport.written = b""
    socket.pause_writing()
    socket.data_received(sent(PING, b"") * 10)
    assert transport.written == b""
    socket.resume_writing()
    await until(lambda: transport.written == frame(PONG, b"") * 10)


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    """It is not read and not answered meanwhile, and what it does not read counts as held."""
    service = Service()
    socket, transport = service.connect()
    transport.unread = 1000
    socket.check_timeouts(asyncio.get_running_loop().time())
    assert service.bounds.held == KEPT + 1000 + KERNEL_OUT_BYTES
    transport.unread = 70_000
    socket.pause_writing()
    socket.data_received(sent(TEXT, b"a") * 5000)
    assert (service.seen, transport.reading) == ([], False)
    assert service.bounds.held > 70_000
    now = asyncio.get_running_loop().time()
    socket.check_timeouts(now + STALLED_SECONDS - 1)
    assert transport.open
    socket.check_timeouts(now + STALLED_SECONDS + 1)
    assert transport.aborted


async def test_a_message_must_be_complete_in_time() -> None:
    """However lively its sender pings in between; one that is complete sets the clock back."""
    service = Service()
    socket, transport = service.connect()
    now = asyncio.get_running_loop().time()
    socket.data_received(sent(TEXT, b"a", first=0) + sent(PING, b""))
    socket._last_read_at = now + MAX_MESSAGE_SECONDS
    socket.check_timeouts(now + MAX_MESSAGE_SECONDS - 1)
    socket.data_received(sent(0, b"b") + sent(TEXT, b"c", first=0))
    assert frame(TEXT, b"AB") in transport.written
    socket._unfinished_since = now
    socket._last_read_at = now + MAX_MESSAGE_SECONDS + 2
    socket.check_timeouts(now + MAX_MESSAGE_SECONDS + 2)
    assert transport.written.endswith(close_frame(1008))
    assert service.bounds.held == 0


async def test_a_silent_client_is_asked_and_then_given_up() -> None:
    """One ping after half a minute; whatever comes is a sign of life."""
    service = Service()
    socket, transport = service.connect()
    now = asyncio.get_running_loop().time()
    socket.check_timeouts(now + HEARTBEAT_SECONDS - 1)
    assert transport.written == b""
    socket.check_timeouts(now + HEARTBEAT_SECONDS + 1)
    socket.check_timeouts(now + HEARTBEAT_SECONDS + 6)
    assert transport.written == frame(PING, b"")
    socket.data_received(sent(PONG, b""))
    socket.check_timeouts(now + HEARTBEAT_SECONDS + 6)
    assert transport.written == frame(PING, b"") * 2
    socket.check_timeouts(now + 2 * HEARTBEAT_SECONDS + 5)
    assert transport.open
    socket.check_timeouts(now + 2 * HEARTBEAT_SECONDS + 7)
    assert transport.aborted


async def test_a_client_whose_message_takes_long_is_not_taken_for_gone() -> None:
    """It is not asked while it waits for its answer; afterwards it has its time like others."""
    service = Service()
    service.held = asyncio.Event()
    socket, transport = service.connect()
    socket.data_received(sent(TEXT, b"a"))
    now = asyncio.get_running_loop().time()
    socket.check_timeouts(now + 10 * HEARTBEAT_SECONDS)
    assert transport.written == b""
    service.held.set()
    await asyncio.sleep(0.01)
    socket.check_timeouts(now + 10 * HEARTBEAT_SECONDS)
    assert transport.written == frame(TEXT, b"A") + frame(PING, b"")
    socket.check_timeouts(now + 11 * HEARTBEAT_SECONDS - 1)
    assert transport.open


async def test_goodbyes_are_said_after_the_answer() -> None:
    """A front that stops, and a client that gives way: 1001 and 1013; the client's own close ends it at once."""
    service = Service()
    service.held = asyncio.Event()
    busy, busy_transport = service.connect()
    idle, idle_transport = service.connect()
    busy.data_received(sent(TEXT, b"a") + sent(TEXT, b"b"))
    busy.finish()
    idle.shed()
    assert (busy_transport.written, idle_transport.written) == (b"", close_frame(1013))
    service.held.set()
    await asyncio.sleep(0)
    assert busy_transport.written == frame(TEXT, b"A") + close_frame(1001, "restart")
    assert busy_transport.open
    busy.data_received(sent(CLOSE, (1001).to_bytes(2)))
    assert not busy_transport.open
    assert service.seen == [b"a"]
    for end in (busy, idle):
        end.connection_lost(None)
    assert service.bounds.guests() == []


async def test_a_clients_close_is_answered_with_its_code() -> None:
    """After what it had sent before; nothing behind it is read."""
    service = Service()
    socket, transport = service.connect()
    socket.data_received(sent(TEXT, b"a") + sent(CLOSE, (1000).to_bytes(2) + b"bye") + sent(TEXT, b"b"))
    assert transport.written == frame(TEXT, b"A") + close_frame(1000)
    assert (transport.open, service.seen) == (False, [b"a"])


@pytest.mark.parametrize(("payload", "code"), [
    ((1000).to_bytes(2) + b"\xff", 1007), ((1000).to_bytes(2) + b"\xed\xa0\x80", 1007), (b"\x03", 1002),
    *[(wrong.to_bytes(2), 1002) for wrong in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)],
    *[(right.to_bytes(2), right) for right in (1000, 1003, 1007, 1014, 3000, 4999)],
])  # fmt: skip
async def test_a_clients_close_is_checked(payload: bytes, code: int) -> None:
    """RFC 6455: 1007 for a reason that is not UTF-8, 1002 for a code that nobody may send."""
    service = Service()
    socket, transport = service.connect()
    socket.data_received(sent(TEXT, b"a") + sent(CLOSE, payload))
    assert transport.written == frame(TEXT, b"A") + close_frame(code)
    assert service.errors == (code != int.from_bytes(payload[:2]))


async def test_what_comes_behind_an_error_is_thrown_away() -> None:
    """The client hears the code, and what it still sends for a moment is kept nowhere."""
    service = Service()
    socket, transport = service.connect()
    socket.data_received(sent(TEXT, b"\xff"))
    assert (transport.written, service.errors) == (close_frame(1007), 1)
    for _ in range(1000):
        socket.data_received(b"\x81\xff" + b"\0" * 1000)
    assert (transport.open, socket._reader.held < 5000, service.bounds.held) == (True, True, 0)


async def test_an_accident_of_ours_ends_one_connection(capsys: pytest.CaptureFixture[str]) -> None:
    """With a line in the log, and no exception that the loop would log with the client's address."""
    service = Service()
    socket, transport = service.connect()
    socket._reader = None  # type: ignore[assignment]
    socket.data_received(b"x")
    assert transport.aborted
    assert "connection_failed" in "".join(capsys.readouterr())


def asking(**headers: bytes | None) -> Request:
    given = {
        b"connection": b"Upgrade", b"upgrade": b"websocket", b"sec-websocket-version": b"13",
        b"sec-websocket-key": b"dGhlIHNhbXBsZSBub25jZQ==",
        **{name.replace("_", "-").encode(): value for name, value in headers.items()},
    }  # fmt: skip
    found = {name: value for name, value in given.items() if value is not None}
    return Request("GET", b"/wss?uid=1", found, "192.0.2.1")


def test_a_handshake_is_answered_as_the_standard_says() -> None:
    """The key of RFC 6455, section 1.3; nothing is packed where it was not asked for."""
    hands = shake_hands(asking())
    assert hands is not None
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n" in hands.answer
    assert hands.answer.startswith(b"HTTP/1.1 101 ")
    assert not hands.unpack


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_websocket_version": b"8"}, {"sec_websocket_version": None}, {"sec_websocket_key": None},
        {"sec_websocket_key": b"short"}, {"sec_websocket_key": b"dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="},
        {"sec_websocket_key": b"\xff\xfe"},
    ],
)  # fmt: skip
def test_what_is_no_handshake_is_told_apart(headers: dict[str, bytes | None]) -> None:
    """Another version, no key, half a key, two keys."""
    assert shake_hands(asking(**headers)) is None


@pytest.mark.parametrize(
    ("offer", "agreed"),
    [
        (b"permessage-deflate", b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"),
        (
            b"permessage-deflate; client_max_window_bits",
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (
            b'x-other, permessage-deflate; server_max_window_bits="10"; client_no_context_takeover',
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
        ),
        (
            b"permessage-deflate; unknown, permessage-deflate; client_max_window_bits=9",
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (b"permessage-deflate; server_max_window_bits", None),
        (b"permessage-deflate; client_max_window_bits=99", None),
        (b"permessage-deflate; server_no_context_takeover=1", None),
        (b"x-webkit-deflate-frame", None),
        (b";;=,,", None),
    ],
)
def test_packed_messages_are_agreed_upon_without_a_memory_between_them(offer: bytes, agreed: bytes | None) -> None:
    """The first offer that can be met; a window kept for each connection is what an attacker would fill."""
    hands = shake_hands(asking(sec_websocket_extensions=offer))
    assert hands is not None
    assert hands.unpack is (agreed is not None)
    lines = [line for line in hands.answer.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Extensions: ")]
    assert lines == ([] if agreed is None else [b"Sec-WebSocket-Extensions: " + agreed])


def test_a_packed_message_stands_for_itself_and_has_the_same_limit() -> None:
    """Unpacked it may be no larger than one that came plain; in frames too; what is no deflate ends the connection."""

    def packed(text: bytes) -> bytes:
        packer = zlib.compressobj(wbits=-15)
        return (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]

    reader = FrameReader(LIMIT, unpack=True)
    for size in (5, LIMIT):
        data = packed(b"x" * size)
        reader.feed(sent(TEXT, data[:3], first=0x40) + sent(0, data[3:]))
        message = reader.next()
        assert message is not None
        assert message.payload == b"x" * size
    reader.feed(sent(TEXT, packed(b"x" * (LIMIT + 1)), first=0xC0))
    with pytest.raises(FrameError) as error:
        reader.next()
    assert error.value.code == 1009
    plain = FrameReader(LIMIT, unpack=False)
    plain.feed(sent(TEXT, packed(b"x"), first=0xC0))
    with pytest.raises(FrameError) as error:
        plain.next()
    assert error.value.code == 1002


def test_a_message_in_fragments_is_bounded_as_a_whole() -> None:
    """Refused as soon as the head of the fragment that is too much has come; what waits of it is joined."""
    reader = FrameReader(LIMIT, unpack=False)
    reader.feed(sent(TEXT, b"x" * 100, first=0) + sent(0, b"x", first=0) * 800)
    assert reader.next() is None
    assert reader.held == 900
    reader.feed(b"\x80\xe5")  # 101 bytes more, of which none has come
    with pytest.raises(FrameError) as error:
        reader.next()
    assert error.value.code == 1009
