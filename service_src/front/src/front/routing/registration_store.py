"""The last registrations, kept in Redis: a front that starts knows them before the director sends any.

Without it, the events between a start and the director's next push would be taken with no enrichment. What is kept may
be old: an enricher that has gone meanwhile is soon not waited for, and the next push replaces the table.

Our director writes the key, and where Redis has named users nobody else can: there front takes registrations from it
alone, and a push is no more than a reason to look. Else front takes the push, and writes the key itself: the original's
director knows no key.
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
    """Writes and reads the key. It raises neither errors of Redis nor of what is stored there."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self.told = False
        """Whether Redis has said what is kept, or that nothing is."""

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
        """Return what is kept; None after `within` seconds, and when there is nothing or nothing that can be used."""
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
    """Read what is kept; one line in the log when somebody else wrote there."""
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
