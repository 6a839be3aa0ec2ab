"""Coalesces the messages of one turn of the loop to one peer into a JSON-RPC batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from band.redis.link import RedisLink
from band.tasks import PerTurn

MAX_BATCH: Final = 500
"""Messages per batch: enough to make the cost of each negligible, without a long wait for the first."""

OnReceivers = Callable[[Any, Any], None]


class Outbox:
    """Collects messages by channel and publishes those of one turn of the loop together."""

    def __init__(self, link: RedisLink, on_receivers: OnReceivers | None = None, *, keep: bool = False) -> None:
        self._link = link
        self._on_receivers = on_receivers
        self._keep = keep
        self._gathered: dict[str, list[tuple[bytes, Any]]] = {}
        self._turn = PerTurn(self._flush)

    def put(self, channel: str, payload: bytes, tag: Any = None) -> None:
        """Queue a message; ``tag`` is passed to ``on_receivers`` with the number of receivers."""
        gathered = self._gathered.get(channel)
        if gathered is None:
            gathered = self._gathered[channel] = []
        gathered.append((payload, tag))
        if not self._turn.planned:
            self._turn.plan()

    def _flush(self) -> None:
        everything, self._gathered = self._gathered, {}
        for channel, gathered in everything.items():
            for start in range(0, len(gathered), MAX_BATCH):
                self._publish(channel, gathered[start : start + MAX_BATCH])
        self._link.flush()

    def _publish(self, channel: str, gathered: list[tuple[bytes, Any]]) -> None:
        if len(gathered) == 1:
            payload = gathered[0][0]
        else:
            payload = b"[" + b",".join([payload for payload, _ in gathered]) + b"]"
        notify = self._on_receivers
        if notify is None:
            self._link.publish(channel, payload, keep=self._keep)
            return

        def on_reply(receivers: Any) -> None:
            if type(receivers) is not int or receivers == 0:
                for message, tag in gathered:
                    notify(receivers, (message, tag))

        if not self._link.publish(channel, payload, on_reply, keep=self._keep):
            for message, tag in gathered:
                notify(None, (message, tag))
