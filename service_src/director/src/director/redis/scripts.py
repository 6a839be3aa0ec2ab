"""Kills endless Lua scripts: one of any service blocks Redis for everybody (`BUSY`)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import hiredis

from band import RedisError, logger
from band.platform import RedisAddress, RedisLink, run_forever

EVERY_SECONDS = 1.0
KILL_SECONDS = 5.0
TOLD_SECONDS = 60.0
"""Seconds for which health reports a killed script: one that is sent repeatedly stays visible."""
_WHO = "`docker exec redis redis-admin CLIENT LIST` shows who sent it: a user whose cmd is eval or evalsha"

_ADVICE = {
    "UNKILLABLE": "it has written, `docker exec redis redis-admin SHUTDOWN NOSAVE` ends it",
    "NOPERM": "run bin/setup again",
}


class Scripts:
    """Checks every second. `killed` counts the killed scripts."""

    def __init__(self, link: RedisLink, address: RedisAddress) -> None:
        self.killed = 0
        self._link = link
        self._address = address
        self._reason = ""
        self._found_at = float("-inf")

    @property
    def reason(self) -> str:
        """A sentence about the last killed script; empty if there was none lately."""
        return self._reason if time.monotonic() - self._found_at < TOLD_SECONDS else ""

    async def run(self) -> None:
        await run_forever("busy_scripts", self.look, pause_seconds=EVERY_SECONDS)

    async def look(self) -> None:
        """Ask Redis for a sign of life, and end the script that it is busy with."""
        try:
            await self._link.command("PING")
        except RedisError as error:  # BUSY, or no connection because a new one got BUSY
            if "BUSY " not in str(error):
                return
            await self._kill()

    async def _kill(self) -> None:
        said = await self._ask_kill()
        if said.startswith("NOTBUSY"):
            return
        self._found_at = time.monotonic()
        if said == "OK":
            self.killed += 1
            self._reason = f"a script kept Redis busy, and the director killed it; {_WHO}"
            logger.error("redis_script_killed", killed=self.killed)
            return
        todo = _ADVICE.get(said.partition(" ")[0], "`docker exec redis redis-admin SCRIPT KILL` may end it")
        self._reason = f"a script keeps Redis busy, and the director cannot kill it ({said}): {todo}; {_WHO}"
        logger.error("redis_script_not_killed", reason=said)

    async def _ask_kill(self) -> str:
        """Send SCRIPT KILL over its own connection, which Redis accepts while it is busy; returns the response."""
        where = self._address
        try:
            async with asyncio.timeout(KILL_SECONDS):
                reader, writer = await (
                    asyncio.open_unix_connection(where.path)
                    if where.path
                    else asyncio.open_connection(where.host, where.port, ssl=where.tls or None)
                )
                try:
                    answers: Any = hiredis.Reader(notEnoughData=Ellipsis)
                    if where.password or where.username:
                        await _ask(reader, writer, answers, "AUTH", where.username or "default", where.password)
                    return await _ask(reader, writer, answers, "SCRIPT", "KILL")
                finally:
                    writer.close()
        except (OSError, EOFError) as error:  # a TimeoutError is an OSError
            return f"{type(error).__name__}: {error}"


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: Any, *command: Any) -> str:
    writer.write(hiredis.pack_command(command))
    while (found := answers.gets()) is Ellipsis:
        data = await reader.read(65536)
        if not data:
            raise EOFError("Redis closed the connection")
        answers.feed(data)
    return found.decode() if isinstance(found, bytes) else str(found)
