"""WebSocket frames (RFC 6455): parse a client's bytes to messages, serialize a server's frames.

Messages are parsed one by one, so that a client that sends faster than we respond only fills a buffer of bytes. A
message is limited as a whole, regardless of its number of frames and its compression.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
_DATA: Final = (TEXT, BINARY)
_CONTROL: Final = (CLOSE, PING, PONG)
_MAX_CONTROL_BYTES: Final = 125

GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
INVALID_DATA: Final = 1007
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009
TRY_AGAIN_LATER: Final = 1013
_CLOSE_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1015)})
"""Registered codes that may be in a frame; those from 3000 on belong to libraries and applications."""

_EMPTY_BLOCK: Final = b"\x00\x00\xff\xff"
"""What the sender of a compressed message leaves out at its end (RFC 7692, 7.2.2)."""


class FrameError(Exception):
    """What a client sent ends its connection, with `code` as the reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Message(NamedTuple):
    """A whole text or binary message, or a control frame."""

    opcode: int
    payload: bytes


class FrameReader:
    """Parses bytes to messages. `unpack`: whether the handshake agreed on compression."""

    __slots__ = ("_at", "_buffer", "_limit", "_opcode", "_packed", "_parts", "_unpack")

    def __init__(self, limit: int, *, unpack: bool) -> None:
        self._limit = limit
        self._unpack = unpack
        self._buffer = bytearray()
        self._at = 0
        self._parts = bytearray()
        self._opcode = 0
        """Of the message that is being received; 0 between messages."""
        self._packed = False

    def feed(self, data: bytes) -> None:
        """Add received data."""
        self._buffer += data

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return len(self._buffer) + len(self._parts)

    @property
    def unfinished(self) -> bool:
        """Whether a message or a frame is incomplete."""
        return bool(self._opcode or self._buffer)

    def next(self) -> Message | None:
        """Return the next message or control frame, None when none is complete.

        Raises:
            FrameError: the bytes are not a frame, or it is too large.
        """
        while (frame := self._frame()) is not None:
            final, opcode, payload = frame
            if opcode in _CONTROL:
                if opcode == CLOSE:
                    _check_close(payload)
                return Message(opcode, payload)
            if final and not self._parts:
                return self._message(payload)
            self._parts += payload
            if final:
                payload, self._parts = bytes(self._parts), bytearray()
                return self._message(payload)
        return None

    def _frame(self) -> tuple[bool, int, bytes] | None:
        """Return the next frame; None if it is not complete."""
        buffer, at = self._buffer, self._at
        if len(buffer) - at >= 2:
            first, second = buffer[at], buffer[at + 1]
            opcode = self._checked(first, second)
            size, start = second & 0x7F, at + 2
            if size > _MAX_CONTROL_BYTES:
                start += 2 if size == 126 else 8
                size = int.from_bytes(buffer[at + 2 : start]) if len(buffer) >= start else 0
            if opcode not in _CONTROL and len(self._parts) + size > self._limit:
                raise FrameError(TOO_BIG, "the message is too large")
            start += 4
            if len(buffer) - start >= size:
                self._at = start + size
                self._begin(opcode, packed=bool(first & 0x40))
                return bool(first & 0x80), opcode, _unmask(buffer[start - 4 : start], buffer[start : self._at])
        if at:
            del buffer[:at]
            self._at = 0
        return None

    def _checked(self, first: int, second: int) -> int:
        """Return the opcode of a frame; FrameError when a client may not send such a one now."""
        opcode = first & 0x0F
        final, packed, size = first & 0x80, first & 0x40, second & 0x7F
        if first & 0x30 or not second & 0x80:
            raise FrameError(PROTOCOL_ERROR, "reserved bits, or no mask")
        if opcode in _CONTROL:
            wrong = not final or packed or size > _MAX_CONTROL_BYTES
        elif opcode in _DATA:
            wrong = bool(self._opcode) or bool(packed and not self._unpack)
        else:
            wrong = opcode != CONTINUATION or not self._opcode or bool(packed)
        if wrong:
            raise FrameError(PROTOCOL_ERROR, "a frame that is not allowed at this point")
        return opcode

    def _begin(self, opcode: int, *, packed: bool) -> None:
        if opcode in _DATA:
            self._opcode, self._packed = opcode, packed

    def _message(self, payload: bytes) -> Message:
        opcode, self._opcode = self._opcode, 0
        if self._packed:
            payload = _inflate(payload, self._limit)
        if opcode == TEXT:
            try:
                payload.decode()
            except UnicodeDecodeError:
                raise FrameError(INVALID_DATA, "the text is not UTF-8") from None
        return Message(opcode, payload)


def _check_close(payload: bytes) -> None:
    """Check the status code and the reason of a client's close frame (RFC 6455, 5.5.1, 7.4, 8.1); FrameError."""
    code = int.from_bytes(payload[:2])
    if payload and (len(payload) < 2 or not (code in _CLOSE_CODES or 3000 <= code < 5000)):
        raise FrameError(PROTOCOL_ERROR, "an invalid close code")
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(INVALID_DATA, "the reason of the close is not UTF-8") from None


def _unmask(mask: bytes | bytearray, data: bytes | bytearray) -> bytes:
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def _inflate(packed: bytes, limit: int) -> bytes:
    """Decompress a message; there is no context takeover, so nothing is kept between messages."""
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = unpacking.decompress(packed + _EMPTY_BLOCK, limit + 1)
    except zlib.error:
        raise FrameError(INVALID_DATA, "the compressed message is damaged") from None
    if len(plain) > limit:
        raise FrameError(TOO_BIG, "the unpacked message is too large")
    return plain


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a whole message, or a control frame, of a server."""
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (0x80 | opcode, size, payload)
    if size < 1 << 16:
        return b"%c\x7e%b%b" % (0x80 | opcode, size.to_bytes(2), payload)
    return b"%c\x7f%b%b" % (0x80 | opcode, size.to_bytes(8), payload)


def close_frame(code: int | None, reason: str = "") -> bytes:
    """Return a close, with or without a status code."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2) + reason.encode())
