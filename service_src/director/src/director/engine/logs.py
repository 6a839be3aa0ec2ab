"""The output of containers: read from the engine line by line, and as text without the secrets of its environment."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable

import aiohttp

from director.engine.docker_json import timestamp
from director.engine.interface import Container, Engine, Printed, Stream
from director.engine.log_feed import printable
from director.redact import scrub, secret_values

LONGEST = 64 * 1024
"""Characters of a line without an end that are kept; a program that prints no line ends must not fill the memory."""
SILENCE = 5.0
_HEADER = struct.Struct(">BxxxL")
_PIECE = 64 * 1024


async def read_output(response: aiohttp.ClientResponse) -> AsyncIterator[Printed]:
    """Yield the lines of a response of `GET /containers/<id>/logs?timestamps=1`, as they come."""
    framed = "raw-stream" not in response.headers.get("Content-Type", "")
    joined = Joiner()
    async for stream, data in _frames(response) if framed else _raw(response):
        for line in joined.feed(stream, data):
            yield line
    for line in joined.rest():
        yield line


async def tail(engine: Engine, container: Container, lines: int, declared: Collection[str]) -> str:
    """Return the last lines of a container's output."""
    secrets = secret_values(container.env, declared)
    return text_of(scrub(line, secrets) for line in await engine.logs(container.id, lines))


def text_of(lines: Iterable[str]) -> str:
    """Return lines as a text for a terminal."""
    return "".join(f"{printable(line)}\n" for line in lines)


async def follow(
    engine: Engine, container: Container, lines: int, declared: Collection[str]
) -> AsyncGenerator[bytes, None]:
    """Yield the last lines and then each new one, until the container ends.

    While it prints nothing, an empty chunk comes every few seconds, so that the writer notices a lost client.
    """
    secrets = secret_values(container.env, declared)
    source = engine.output(container.id, tail=lines)
    coming: asyncio.Task[Printed | None] | None = None
    try:
        while True:
            coming = coming or asyncio.create_task(_next(source))
            await asyncio.wait({coming}, timeout=SILENCE)
            if not coming.done():
                yield b""
                continue
            printed = coming.result()
            coming = None
            if printed is None:
                return
            yield text_of([scrub(printed.text, secrets)]).encode()
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
        await source.aclose()


async def _next(source: AsyncIterator[Printed]) -> Printed | None:
    return await anext(source, None)


async def _frames(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[Stream, bytes]]:
    try:
        while True:
            number, length = _HEADER.unpack(await response.content.readexactly(_HEADER.size))
            stream: Stream = "stderr" if number == 2 else "stdout"
            while length:  # a frame may be as long as a program likes; it is never read whole
                data = await response.content.readexactly(min(length, _PIECE))
                length -= len(data)
                yield stream, data
    except (EOFError, aiohttp.ClientError, OSError):
        return  # the container or the engine ended: the follower checks again


async def _raw(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[Stream, bytes]]:
    try:
        async for data in response.content.iter_chunked(_PIECE):
            yield "stdout", data
    except (aiohttp.ClientError, OSError):
        return


class Joiner:
    """Assembles lines from the chunks of two streams, and parses Docker's timestamp of each."""

    def __init__(self) -> None:
        self._open: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}

    def feed(self, stream: Stream, data: bytes) -> list[Printed]:
        """Return the lines that `data` completes."""
        *whole, rest = (self._open[stream] + data).split(b"\n")
        if len(rest) > LONGEST:
            whole, rest = [*whole, rest], b""
        self._open[stream] = rest
        return [_printed(stream, line) for line in whole]

    def rest(self) -> list[Printed]:
        """Return the last line if it has no line end."""
        return [_printed(stream, line) for stream, line in self._open.items() if line]


def _printed(stream: Stream, line: bytes) -> Printed:
    stamp, space, text = line.partition(b" ")
    try:
        at = timestamp(stamp.decode("ascii")) if space else 0.0
    except ValueError:  # the rest of a line that was cut: its time stood before its first piece
        at = 0.0
    shown = text if at else line
    return Printed(at, stream, shown.decode("utf-8", "replace").rstrip("\r"))
