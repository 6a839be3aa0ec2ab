"""The last registrations in Redis, which a starting front uses before the director sends any.

Otherwise, events between a start and the director's next push would not be enriched. The stored ones may be old: an
enricher that is gone is soon skipped, and the next push replaces the table.

Our director writes the key, and with named Redis users nobody else can: then front reads registrations only from it,
and a push only triggers reading. Without named users, front accepts the push and writes the key itself, because the
original's director does not.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from band import RedisError, RedisReplyError, logger
from band.platform import REGISTRATIONS_KEY, RedisLink, decode_loosely, encode

_REPLY_WITHIN_SECONDS = 2.0


class Registrations(NamedTuple):
    """What the director pushed, the hash that names it, and when: seconds of a clock that all workers share."""

    rows: list[Any]
    state_hash: Any
    at: float = 0.0


class RegistrationStore:
    """Writes and reads the key. It raises neither for Redis nor for invalid contents."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self.told = False
        """Whether Redis has responded, with contents or without."""

    def keep(self, known: Registrations) -> None:
        """Write without waiting. When that fails, the next new table is written again."""
        try:
            written = self._link.ask(
                "SET", REGISTRATIONS_KEY, encode({"register": known.rows, "state_hash": known.state_hash})
            )
        except (RedisError, TypeError, ValueError, RecursionError) as error:
            logger.debug("registrations_not_kept", reason=str(error))
            return
        written.add_done_callback(_look_at)

    async def recall(self, within: float) -> Registrations | None:
        """Return the stored registrations; None after `within` seconds, or if there are no valid ones."""
        try:
            async with asyncio.timeout(within):
                await self._link.ready(within)
                raw = await self._link.ask("GET", REGISTRATIONS_KEY, timeout=min(within, _REPLY_WITHIN_SECONDS))
                self.told = True
        except (TimeoutError, RedisError) as error:
            self.told = isinstance(error, RedisReplyError)
            log = logger.warning if self.told else logger.info
            log("registrations_not_recalled", reason=str(error) or f"Redis did not answer within {within:g} s")
            return None
        return None if raw is None else _read(raw)


def _look_at(written: asyncio.Future[Any]) -> None:
    if not written.cancelled() and (error := written.exception()) is not None:
        logger.debug("registrations_not_kept", reason=str(error))


def _read(raw: bytes) -> Registrations | None:
    """Read the stored registrations; log one line if their format is invalid."""
    try:
        kept = decode_loosely(raw)
    except (ValueError, RecursionError) as error:
        _ignore(f"it is {str(error)[:120]}")
        return None
    if not isinstance(kept, dict) or not isinstance(kept.get("register"), list) or not kept.get("state_hash"):
        _ignore("it is not an object with a list `register` and a `state_hash`")
        return None
    return Registrations(kept["register"], kept["state_hash"])


def _ignore(reason: str) -> None:
    logger.warning(
        "kept_registrations_ignored",
        key=REGISTRATIONS_KEY,
        reason=reason,
        hint="nothing to do: the director's next update replaces it",
    )
