"""A container's output as it comes, each line with its stream and its time."""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Literal, Protocol

import aiohttp
import msgspec

from director.engine.docker import LONGEST, DockerRuntime
from director.engine.parse import timestamp

Stream = Literal["stdout", "stderr"]
_ENDLESS = aiohttp.ClientTimeout(total=None, sock_connect=5)
_HEADER = struct.Struct(">BxxxL")
_PIECE = 64 * 1024


class Printed(msgspec.Struct, frozen=True):
    """A line that a container printed; `at` is seconds since 1970."""

    at: float
    stream: Stream
    text: str


class Output(Protocol):
    """How the output of a container is followed."""

    def __call__(self, container: str, *, tail: int, since: float) -> AsyncGenerator[Printed, None]:
        """Yield up to `tail` last lines since `since` (seconds since 1970), then each new one, until it ends.

        Raises:
            DockerUnavailable: the engine is away.
        """


class DockerOutput:
    """The output of containers of a Docker Engine."""

    def __init__(self, runtime: DockerRuntime) -> None:
        self._runtime = runtime

    async def __call__(self, container: str, *, tail: int, since: float) -> AsyncGenerator[Printed, None]:
        """Follow one container; see `Output`."""
        params = {"stdout": "1", "stderr": "1", "follow": "1", "timestamps": "1", "tail": str(tail)}
        if since:
            params["since"] = f"{since:.9f}"
        response = await self._runtime.open(f"containers/{container}/logs", params=params, timeout=_ENDLESS)
        try:
            framed = "raw-stream" not in response.headers.get("Content-Type", "")
            joined = Joiner()
            async for stream, data in _frames(response) if framed else _raw(response):
                for line in joined.feed(stream, data):
                    yield line
            for line in joined.rest():
                yield line
        finally:
            response.close()


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
        return  # the container ended, or the engine did: who follows looks again


async def _raw(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[Stream, bytes]]:
    try:
        async for data in response.content.iter_chunked(_PIECE):
            yield "stdout", data
    except (aiohttp.ClientError, OSError):
        return


class Joiner:
    """Makes lines of the pieces of two streams, and takes the time that Docker put before each."""

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
        """Return what was printed last, without a line end."""
        return [_printed(stream, line) for stream, line in self._open.items() if line]


def _printed(stream: Stream, line: bytes) -> Printed:
    stamp, space, text = line.partition(b" ")
    try:
        at = timestamp(stamp.decode("ascii")) if space else 0.0
    except ValueError:  # the rest of a line that was cut: its time stood before its first piece
        at = 0.0
    shown = text if at else line
    return Printed(at, stream, shown.decode("utf-8", "replace").rstrip("\r"))
