"""What front's workers say to each other, over sockets that have a name in the kernel only.

Whoever asks front for its health or its metrics, or tells it of registrations, reaches one worker; this one asks or
tells the others. It works while Redis is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from band.json_codec import decode, encode
from band.telemetry.logs import logger
from front.process import Place

TIMEOUT_S: Final = 1.0
LONGEST: Final = 16 * 1024 * 1024

Answerer = Callable[[Any], Awaitable[Any]]


class Siblings:
    """The other workers of this front. `answerers`: subject -> what to do with a word on it and what to answer."""

    def __init__(self, place: Place, answerers: Mapping[str, Answerer]) -> None:
        self._place = place
        self._answerers = answerers
        self._server: asyncio.Server | None = None
        self._told: set[asyncio.Task[Any]] = set()

    @property
    def numbers(self) -> list[int]:
        """The numbers of the others."""
        return [number for number in range(self._place.count) if number != self._place.number]

    async def open(self) -> None:
        """Listen to the others."""
        if self._place.count == 1:
            return
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.setblocking(False)
        listening.bind(self._address(self._place.number))
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=LONGEST)

    async def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def ask(self, subject: str, word: Any = None) -> dict[int, Any]:
        """Ask all others at once: number -> answer. Those who do not answer within a second are missing."""
        numbers = self.numbers
        answers = await asyncio.gather(*(self._ask(number, subject, word) for number in numbers))
        return {number: answer[0] for number, answer in zip(numbers, answers, strict=True) if answer}

    def tell(self, subject: str, word: Any) -> None:
        """Tell all others without waiting."""
        for number in self.numbers:
            task = asyncio.get_running_loop().create_task(self._ask(number, subject, word))
            self._told.add(task)
            task.add_done_callback(self._told.discard)

    def _address(self, number: int) -> str:
        return f"\0{self._place.family}-{number}"

    async def _connect(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # By hand: uvloop takes paths of files only.
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, self._address(number))
        except BaseException:
            connection.close()
            raise
        return await asyncio.open_unix_connection(sock=connection, limit=LONGEST)

    async def _ask(self, number: int, subject: str, word: Any) -> list[Any]:
        """The answer as a list of one; empty when none comes."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reader, writer = await self._connect(number)
                try:
                    writer.write(encode({"subject": subject, "word": word}) + b"\n")
                    line = await reader.readline()
                finally:
                    writer.close()
                return [decode(line)] if line else []
        except (OSError, TimeoutError, ValueError) as error:
            logger.info("worker_silent", worker=number, subject=subject, reason=str(error) or "no answer in time")
            return []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            async with asyncio.timeout(TIMEOUT_S * 2):
                heard = decode(await reader.readline())
                answer = await self._answerers[heard["subject"]](heard["word"])
                writer.write(encode(answer) + b"\n")
                await writer.drain()
        writer.close()
