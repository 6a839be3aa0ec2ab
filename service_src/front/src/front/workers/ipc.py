"""Requests between front's workers, over Unix sockets whose names exist in the kernel only.

A request for front's health or metrics, or a push of registrations, reaches one worker, which asks or informs the
others. It works while Redis is unavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

from band import logger
from band.platform import decode_loosely, encode, resolve
from front.process import WorkerProcess

TIMEOUT_SECONDS: Final = 1.0
MAX_BYTES: Final = 16 * 1024 * 1024

Handler = Callable[[Any], Any]


class WorkerIpc:
    """Connects the workers of this front. `handlers`: topic → function from a request's payload to the response."""

    def __init__(self, process: WorkerProcess, handlers: Mapping[str, Handler]) -> None:
        self._process = process
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._sending: set[asyncio.Task[Any]] = set()

    @property
    def others(self) -> list[int]:
        """The numbers of the others."""
        return [number for number in range(self._process.count) if number != self._process.number]

    async def open(self) -> None:
        """Take requests of the others."""
        if self._process.count == 1:
            return
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.setblocking(False)
        listening.bind(self._address(self._process.number))
        self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=MAX_BYTES)

    async def close(self) -> None:
        """Take no more requests."""
        if self._server is not None:
            self._server.close()

    async def request(self, topic: str, payload: Any = None) -> dict[int, Any]:
        """Ask all others at once; returns number → response, without those that are silent for a second."""
        numbers = self.others
        responses = await asyncio.gather(*(self._request(number, topic, payload) for number in numbers))
        return {number: found[0] for number, found in zip(numbers, responses, strict=True) if found}

    def broadcast(self, topic: str, payload: Any, *, often: bool = False) -> None:
        """Notify all others without waiting. Of what is sent `often`, a worker that is silent is not logged."""
        for number in self.others:
            task = asyncio.get_running_loop().create_task(self._request(number, topic, payload, often=often))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _address(self, number: int) -> str:
        return f"\0{self._process.group}-{number}"

    async def _connect(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        # By hand: uvloop accepts only paths of files.
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().sock_connect(connection, self._address(number))
        except BaseException:
            connection.close()
            raise
        return await asyncio.open_unix_connection(sock=connection, limit=MAX_BYTES)

    async def _request(self, number: int, topic: str, payload: Any, *, often: bool = False) -> list[Any]:
        """Return the response as a list of one; empty when none comes."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                reader, writer = await self._connect(number)
                try:
                    writer.write(encode([topic, payload]) + b"\n")
                    line = await reader.readline()
                finally:
                    writer.close()
                return [decode_loosely(line)] if line else []
        except (OSError, TimeoutError, ValueError) as error:
            log = logger.debug if often else logger.info
            log("worker_silent", worker=number, subject=topic, reason=str(error) or "no response in time")
            return []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError):
            async with asyncio.timeout(TIMEOUT_SECONDS * 2):
                topic, payload = decode_loosely(await reader.readline())
                writer.write(encode(await resolve(self._handlers[topic](payload))) + b"\n")
                await writer.drain()
        writer.close()
