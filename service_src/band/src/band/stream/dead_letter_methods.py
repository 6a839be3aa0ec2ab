"""RPC methods that list, replay and delete dead letters.

Every service whose listener consumes the durable stream has the methods of :class:`DeadLetters`, unless it defines them
itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, TypeGuard

from band.constants import DEAD_LETTERS
from band.errors import InvalidParams, RedisError
from band.jsonrpc.invoke import describe
from band.redis.link import RedisLink
from band.stream.consumer_group import StreamGroup
from band.stream.dead_letters import Letter, LetterStream, read_count, read_ids
from band.stream.lock import LOCK_INTERVAL, ReplayLock
from band.stream.processor import ListenerCall, as_rejection
from band.tasks import wait_until_set
from band.telemetry.logs import logger

PATIENCE: Final = 1.5
"""Seconds to wait for the end of a replay before its call returns; callers wait 2 by default."""
LISTED_MOST: Final = 1000
_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")

Give = Callable[[list[Letter]], AsyncIterator[Mapping[str, int]]]
Spawn = Callable[[Coroutine[Any, Any, None]], Coroutine[Any, Any, Any]]


class NotTaken(Exception):
    """A letter, or the batch that begins with it, failed; the replay stops there."""

    def __init__(self, stream_id: str, reason: str) -> None:
        super().__init__(reason)
        self.stream_id = stream_id


class DeadLetters:
    """The methods of a service's dead letters.

    A replay runs in the background, one at a time among all instances of the service. ``figures`` describes the last
    one: ``running``, the sums of the numbers by outcome, and ``stopped`` (why), ``stopped_at``; it is empty before.

    Args:
        stream: their stream.
        redis: the connection, for the lock of a replay.
        give: processes some of them in a replay, and yields numbers by outcome. If it raises, the replay stops.
        spawn: starts the replay as a job.
        entries: letters per call of ``give``.
        size: approximate bytes per call.
        most: letters per replay; 0: all.
        strict: an unknown id is an error, otherwise it is ignored.
    """

    def __init__(
        self,
        stream: LetterStream,
        redis: RedisLink,
        give: Give,
        spawn: Spawn,
        *,
        entries: int,
        size: int,
        most: int = 0,
        strict: bool = True,
    ) -> None:
        self.figures: dict[str, Any] = {}
        self._stream = stream
        self._give = give
        self._spawn = spawn
        self._entries = entries
        self._size = size
        self._most = most
        self._strict = strict
        self._lock = ReplayLock(redis, stream.key)
        self._busy = False
        self._ended = asyncio.Event()

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Return the functions to expose, by name."""
        functions = (self.dead_letters, self.replay_dead_letters, self.delete_dead_letters)
        return {function.__name__: function for function in functions}

    async def dead_letters(self, limit: int = 100, **_params: Any) -> dict[str, Any]:
        """Return the newest dead letters with their reasons, newest first; `replay` describes the last replay."""
        letters = await self._stream.newest(read_count(limit, LISTED_MOST))
        found = {"count": await self._stream.length(), "letters": [letter.shown() for letter in letters]}
        return {**found, "replay": self.figures} if self.figures else found

    async def replay_dead_letters(
        self, limit: int | None = None, ids: str | list[str] | None = None, **_params: Any
    ) -> dict[str, Any]:
        """Replay the oldest dead letters, or those with these stream ids; default: all.

        A letter is deleted after successful processing. One that fails stops the replay of a listener: `stopped` has
        the reason, `stopped_at` the letter, or the first one of the batch; a batch that is rejected is halved until the
        culprit is found. A long replay continues in the background.

        Raises:
            InvalidParams: an id is invalid or unknown.
        """
        # Letters that arrive during the replay are not part of it: otherwise it might never end.
        there = await self._stream.length()
        chosen = (await self._chosen(ids))[: self._most or None] if _given(ids) else None
        ceiling = max(1, min(there, self._most or there))
        count = min(read_count(limit, ceiling), there) if chosen is None else len(chosen)
        answer = await self._start(count, chosen)
        return {"letters": count, "replayed": 0, **answer} if answer["started"] else answer

    async def delete_dead_letters(self, ids: str | list[str] | None = None, **_params: Any) -> dict[str, int]:
        """Delete the dead letters with these stream ids (separated by commas); without ids, all of them.

        Raises:
            InvalidParams: an id is invalid or unknown; nothing is deleted.
        """
        if not _given(ids):
            return {"deleted": await self._stream.clear()}
        return {"deleted": await self._stream.remove(await self._chosen(ids))}

    async def _start(self, count: int, chosen: Iterable[str] | None) -> dict[str, Any]:
        """Replay the oldest `count` letters or the `chosen` ones; returns whether it started.

        The figures are included, those of the end if it comes soon.

        Raises:
            RedisError: Redis cannot say whether another instance is replaying.
        """
        if self._busy:
            return {"started": False, "reason": "a replay is running", **self.figures}
        self._busy = True  # before the first await: of two calls, one starts
        begun = False
        try:
            if not await self._lock.take():
                return {"started": False, "reason": "a replay is running in another instance"}
            self.figures = {"running": True}
            self._ended.clear()
            await self._spawn(self._run(count, chosen))
            begun = True
        finally:
            if not begun:
                self._busy = False
        await wait_until_set(self._ended, PATIENCE)
        return {"started": True, **self.figures}

    async def _run(self, count: int, chosen: Iterable[str] | None) -> None:
        holding = asyncio.get_running_loop().create_task(self._hold())
        figures = self.figures
        try:
            async for letters in self._stream.portions(count, chosen, entries=self._entries, size=self._size):
                async for told in self._give(letters):
                    for name, number in told.items():
                        figures[name] = figures.get(name, 0) + number
                if holding.done():
                    figures["stopped"] = "another instance may have started a replay"
                    break
        except NotTaken as error:
            figures |= {"stopped": str(error), "stopped_at": error.stream_id}
            logger.warning("replay_stopped", stream=self._stream.key, at=error.stream_id, reason=str(error))
        except Exception as error:  # noqa: BLE001 - the letters are kept, and the operator sees the error
            figures["stopped"] = describe(error)
            logger.exception("replay_failed", stream=self._stream.key, reason=figures["stopped"])
        finally:
            holding.cancel()
            await self._lock.free()
            figures["running"] = False
            self._busy = False
            self._ended.set()

    async def _hold(self) -> None:
        """Extend the lock; returns when it is lost."""
        while True:
            await asyncio.sleep(LOCK_INTERVAL)
            with contextlib.suppress(RedisError):
                if not await self._lock.extend():
                    return

    async def _chosen(self, ids: str | list[str]) -> list[str]:
        wanted = list(dict.fromkeys(read_ids(ids)))
        if not wanted and (self._strict or not ids):
            raise InvalidParams(f"there is no id in ids={ids!r}; write ids of dead letters, as in 1795470000000-0")
        if not self._strict:
            return await self._stream.present(wanted)
        if wrong := [one for one in wanted if not _ID.fullmatch(one)]:
            raise InvalidParams(f"{wrong[0][:50]!r} is not the id of a dead letter; such an id is 1795470000000-0")
        there = set(await self._stream.present(wanted))
        if missing := [one for one in wanted if one not in there]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InvalidParams(f"there is no dead letter {missing[0]}{more}; dead_letters lists them")
        return wanted


def _is_rejection(error: BaseException | None) -> bool:
    return isinstance(error, Exception) and as_rejection(error) is not None


def _given(ids: str | list[str] | None) -> TypeGuard[str | list[str]]:
    """Return whether a call names letters. `ids=,` and an empty list are mistakes and never mean all."""
    return ids is not None and ids != ""


def listener_dead_letters(service: str, feed: ListenerCall, link: RedisLink, spawn: Spawn) -> DeadLetters:
    """Return the dead letters of a listener of the durable stream: a replay passes them to its function."""
    stream = LetterStream(link, DEAD_LETTERS.format(name=service))
    entries, size = feed.portion
    give = _Giver(feed, stream, StreamGroup(service, "", link, link)).give
    return DeadLetters(stream, link, give, spawn, entries=entries, size=size)


class _Giver:
    """Passes letters to a listener's function; each is deleted after the function returned."""

    def __init__(self, feed: ListenerCall, stream: LetterStream, group: StreamGroup) -> None:
        self._feed = feed
        self._stream = stream
        self._group = group

    async def give(self, letters: list[Letter]) -> AsyncIterator[Mapping[str, int]]:
        readable = [letter for letter in letters if letter.readable]
        if len(readable) < len(letters):
            yield {"left_out": len(letters) - len(readable)}
        batches = [readable] if self._feed.exposed.batch else [[letter] for letter in readable]
        for batch in filter(None, batches):
            async for told in self._give_batch(batch):
                yield told

    async def _give_batch(self, batch: list[Letter]) -> AsyncIterator[Mapping[str, int]]:
        """Pass a batch; one that is rejected is halved, so that the replay stops at the culprit."""
        try:
            took = await self._take(batch[0].stream_id, [letter.event for letter in batch])
        except NotTaken as error:
            if len(batch) == 1 or not _is_rejection(error.__cause__):
                raise
            middle = len(batch) // 2
            for half in (batch[:middle], batch[middle:]):
                async for told in self._give_batch(half):
                    yield told
            return
        await self._stream.remove(letter.stream_id for letter in batch)
        yield {"replayed": len(batch)}
        await self._note([letter.origin for letter in batch if letter.origin], took)

    async def _take(self, first: str, events: list[dict[str, Any]]) -> float:
        """Call the listener's function with events; returns the duration in milliseconds."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            await self._feed.give(events)
        except Exception as error:
            raise NotTaken(first, describe(error)) from error
        return (loop.time() - begun) * 1000

    async def _note(self, ids: list[str], took: float) -> None:
        if ids:
            with contextlib.suppress(RedisError):  # as with deliveries: a refused record is harmless
                await self._group.note(ids, took)
