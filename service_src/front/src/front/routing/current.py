"""A worker's current registrations: pushed by the director, passed on by another worker, or read from Redis."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from band import logger
from band.platform import RedisLink
from front.routing.registration_store import Registrations, RegistrationStore
from front.routing.registrations import EMPTY, LEFT_OUT, Table, compile_table


class CurrentRegistrations:
    """Replaces the compiled table as a whole whenever the registrations change."""

    def __init__(
        self, link: RedisLink, on_change: Callable[[Table], None], push: Callable[[Registrations], None]
    ) -> None:
        """`on_change` gets each new table; `push` passes a push of the director on to the other workers."""
        self.table = EMPTY
        self._store = RegistrationStore(link)
        self._on_change = on_change
        self._push = push
        self._known_at = 0.0

    def lacks(self, state_hash: Any) -> bool:
        """Return whether a hash belongs to other registrations than the current ones.

        An empty hash means that the director does not know them yet.
        """
        return bool(state_hash) and state_hash != self.table.state_hash

    def take(self, rows: Any, state_hash: Any) -> None:
        """Take the registrations of all services, if they are others; they are stored for the next start."""
        if self.lacks(state_hash) and isinstance(rows, list):
            known = Registrations(rows, state_hash)
            self._spread(known)
            self._store.keep(known)

    async def look(self, within: float) -> None:
        """Take the registrations that the director keeps in Redis, if they are others, in at most `within` seconds."""
        kept = await self._store.recall(within)
        if kept is not None and self.lacks(kept.state_hash):
            self._spread(kept)

    def hear(self, payload: list[Any]) -> None:
        """Apply the registrations that another worker received, unless the current ones are newer."""
        known = Registrations(*payload)
        if known.at > self._known_at and known.state_hash != self.table.state_hash:
            self._known_at = known.at
            self._apply(known)

    async def recall(self, within: float) -> None:
        """Take the registrations that a front before kept, in at most `within` seconds. Never raises.

        What the director said in the meantime is newer and stays.
        """
        try:
            kept = await self._store.recall(within)
            if kept is not None and self.table is EMPTY:
                self._apply(kept)
                table = self.table
                logger.info(
                    "registrations_restored", formerly="registrations_recalled", handlers=len(table.handlers),
                    enrichers=sorted(table.enrichers),
                )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - events are taken without it too
            logger.exception("registrations_not_recalled", reason=f"{type(error).__name__}: {error}")

    @property
    def may_recall(self) -> bool:
        """Whether there is no table yet, and Redis has not responded."""
        return self.table is EMPTY and not self._store.told

    def _spread(self, known: Registrations) -> None:
        self._known_at = time.monotonic()
        self._apply(known)
        self._push(known._replace(at=self._known_at))

    def _apply(self, known: Registrations) -> None:
        before, table = self.table, compile_table(known.rows, known.state_hash)
        self.table = table
        for service, reason in table.unusable.items() - before.unusable.items():
            logger.warning("registration_unusable", service=service, reason=reason, hint=LEFT_OUT)
        if table.plan.told_apart != before.plan.told_apart:
            logger.info("enrichers_told_apart", services=table.plan.told_apart)
        self._on_change(table)
