"""The reading process, as the service uses it: one query at a time, ended when it does not end by itself."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Final

import msgspec

from band import logger
from store.query import Answer, Query

_GRACE_SECONDS: Final = 2.0
"""After its time a query is interrupted; what cannot be interrupted is killed so much later."""
_LINE: Final = 64 << 20
_DECODER: Final = msgspec.json.Decoder(Answer)


class Reader:
    """Starts the reading process when it is needed, and another when it died."""

    def __init__(self, folder: Path, memory_mb: int) -> None:
        self._folder = folder
        self._memory_mb = memory_mb
        self._process: asyncio.subprocess.Process | None = None
        self.ended = 0
        """How many processes died or had to be killed."""

    async def ask(self, query: Query) -> Answer:
        """Return the answer to a query. Calls must not overlap."""
        process = await self._running()
        assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes
        try:
            async with asyncio.timeout(query.seconds + _GRACE_SECONDS):
                process.stdin.write(msgspec.json.encode(query) + b"\n")
                await process.stdin.drain()
                line = await process.stdout.readline()
        except TimeoutError:
            await self._end("time")
            return Answer(error=f"the query took longer than {query.seconds:g} s; ask for fewer days")
        except (ConnectionError, ValueError):
            line = b""
        except BaseException:
            await self._end("cancelled")
            raise
        if not line.endswith(b"\n"):
            await self._end("died")
            return Answer(error="the query needs more memory than it may have; ask for fewer days or groups")
        return _DECODER.decode(line)

    async def close(self) -> None:
        """End the process."""
        if self._process is not None:
            await self._kill(self._process)
            self._process = None

    async def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "store.reading_process", str(self._folder), str(self._memory_mb),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE,
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), "HOME": "/nonexistent"},
            )  # fmt: skip
        return self._process

    async def _end(self, reason: str) -> None:
        self.ended += 1
        logger.warning("query_ended", reason=reason)
        await self.close()

    @staticmethod
    async def _kill(process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
