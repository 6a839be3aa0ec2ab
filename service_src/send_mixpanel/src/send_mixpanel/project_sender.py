"""The way to one endpoint of a Mixpanel project: splits, sends several requests at once, waits out what passes.

`deliver` returns when each record was either taken or refused for good. Until then it tries, for as long as it takes:
the caller holds the events in Redis meanwhile, so cancelling it loses nothing.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from band import logger
from band.platform import exponential
from send_mixpanel.mapping import Record
from send_mixpanel.options import IMPORT, Options, Project
from send_mixpanel.trouble import Log, TroubleLog
from send_mixpanel.verdict import Meaning, Verdict

DOUBTS_MOST = 3
"""So many records in a row may be refused alone and without a word on them; then it is not about the records."""
SHORT_MOST = 3
"""So often all is sent again when Mixpanel says 200 and that it took fewer, naming none; then it is halved."""
_NOT_OF_RECORDS = frozenset({Meaning.LATER, Meaning.CREDENTIALS, Meaning.ADDRESS})


class Poster(Protocol):
    """What a sender needs of a client."""

    async def post(self, project: Project, records: Sequence[Record]) -> Verdict:
        """Send `records` once."""
        ...


class Refused(msgspec.Struct, frozen=True):
    """A record that Mixpanel will never take, and why."""

    record: Record
    status: int
    field: str
    reason: str


class LaneState(msgspec.Struct):
    """What an operator wants to know of a sender. Times are seconds since 1970."""

    taken: int = 0
    refused: int = 0
    requests: int = 0
    retries: int = 0
    trouble: Meaning | None = None
    trouble_text: str = ""
    trouble_status: int = 0
    trouble_since: float = 0.0
    next_try: float = 0.0
    last_taken: float = 0.0


Taken = Callable[[Sequence[Record], Verdict], None]


class ProjectSender:
    """Delivers to one endpoint of a project. All its requests share one backoff: what slows one slows the others.

    Events go in several requests at once. Changes of profiles go one request after the other, in their order: a later
    change of a person must not come before an earlier one, and Mixpanel counts none of them once only.
    """

    def __init__(
        self,
        project: Project,
        client: Poster,
        options: Options,
        on_taken: Taken | None = None,
        log: Log = logger,
        endpoint: str = IMPORT,
    ) -> None:
        self.project = project
        self.name = project.name if endpoint == IMPORT else f"{project.name}/{endpoint}"
        self.ordered = endpoint != IMPORT
        self.turn = asyncio.Lock()
        """Who sends in order holds it."""
        self.state = LaneState()
        self._client = client
        self._options = options
        self._on_taken = on_taken
        self._trouble_log = TroubleLog(project, log)
        self._in_flight = asyncio.Semaphore(options.in_flight)
        self._not_before = 0.0
        self._failures = 0
        self._pauses = 0
        # Until Mixpanel took something for the first time, a refusal without a word may be about anything.
        self._doubts = DOUBTS_MOST
        self._good: Record | None = None

    @property
    def usable(self) -> bool:
        """Whether there are credentials at all."""
        return self.project.auth is not None

    @property
    def idle(self) -> bool:
        """Whether there was nothing to send yet, as for most people there are no changes of profiles."""
        return self.ordered and not self.state.requests

    def stuck_for(self) -> float:
        """Seconds since the trouble began that goes on now; 0 without one."""
        return time.time() - self.state.trouble_since if self.state.trouble else 0.0

    async def deliver(self, records: Sequence[Record]) -> list[Refused]:
        """Send all of `records`; returns those that were refused for good.

        Without credentials it waits for ever: they come with a restart, and the events with it.
        """
        if not self.usable:
            await asyncio.get_running_loop().create_future()
        refused: list[Refused] = []
        parts = split(records, self._options.batch_events, self._options.batch_bytes)
        if self.ordered:
            for part in parts:
                await self._deliver_part(part, refused)
        else:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(self._deliver_part(part, refused))
        self.state.refused += len(refused)
        return refused

    async def _deliver_part(self, part: Sequence[Record], refused: list[Refused]) -> None:
        waiting = [part]
        aside: list[Record] = []
        while waiting or aside:
            if not waiting:
                waiting, aside = [aside], []
            records = waiting.pop()
            verdict = await self._until_judged(records)
            if verdict.meaning is Meaning.TAKEN:
                self._count(records, verdict)
            elif verdict.meaning is Meaning.SOME_FAILED:
                waiting += self._sort_out(records, verdict, refused)
            elif len(records) == 1:
                if verdict.meaning is Meaning.TOO_LARGE or await self._is_about_the_record(verdict):
                    refused.append(Refused(records[0], verdict.status, "", verdict.text))
                else:
                    aside += records
                    self._pause(Verdict(Meaning.REQUEST, verdict.status, verdict.text))
            else:
                half = len(records) // 2
                waiting += [records[half:], records[:half]]

    async def _is_about_the_record(self, verdict: Verdict) -> bool:
        """Whether a refusal without a word may be believed to be about the one record that was sent.

        After some in a row, one that was taken is sent again, which is counted once: Mixpanel must take it still.
        A change of a profile cannot be sent again: of those a refusal is believed, unless it may be about the token.
        """
        if self.ordered:
            return self._good is not None or "token" not in verdict.text.lower()
        self._doubts += 1
        if self._doubts <= DOUBTS_MOST:
            return True
        if self._good is None or (await self._until_judged([self._good])).meaning is not Meaning.TAKEN:
            return False
        self._doubts = 1
        return True

    def _sort_out(self, records: Sequence[Record], verdict: Verdict, refused: list[Refused]) -> list[Sequence[Record]]:
        """Put the failed ones into `refused`; returns the good ones if Mixpanel seems not to have kept them."""
        self._doubts = 0
        bad = {failure.index: failure for failure in verdict.failed}
        refused += [
            Refused(records[index], verdict.status, failure.field, failure.message) for index, failure in bad.items()
        ]
        good = [record for index, record in enumerate(records) if index not in bad]
        if not good:
            return []
        if verdict.imported is not None and verdict.imported < len(good):
            return [good]
        self._count(good, verdict)
        return []

    async def _until_judged(self, records: Sequence[Record]) -> Verdict:
        """Send until the verdict is about the records, and not about the time, the credentials or the address."""
        short = 0
        while True:
            await self._wait_for_turn()
            async with self._in_flight:
                pauses = self._pauses
                self.state.requests += 1
                verdict = await self._client.post(self.project, records)
            if verdict.meaning not in _NOT_OF_RECORDS:
                if not (verdict.meaning is Meaning.ALL_IN_DOUBT and self.state.trouble is Meaning.REQUEST):
                    self._recovered()
                return verdict
            self.state.retries += 1
            short += verdict.status == 200
            if short >= SHORT_MOST and verdict.meaning is Meaning.LATER:
                return Verdict(Meaning.ALL_IN_DOUBT, verdict.status, verdict.text)
            # Four requests that fail together are one failure, not four.
            if pauses == self._pauses:
                self._pause(verdict)

    async def _wait_for_turn(self) -> None:
        # Another request may lengthen the pause meanwhile, hence the loop.
        while (left := self._not_before - time.monotonic()) > 0:  # noqa: ASYNC110 - a time, not an event
            await asyncio.sleep(left)

    def _pause(self, verdict: Verdict) -> None:
        self._pauses += 1
        self._failures += 1
        options = self._options
        if verdict.meaning is Meaning.LATER:
            seconds = exponential(self._failures - 1, options.backoff_first, options.backoff_most)
            seconds += random.uniform(options.jitter_least, options.jitter_most)  # noqa: S311 - spreads load, keeps no secret
        else:
            seconds = options.refused_retry
        self._not_before = time.monotonic() + seconds
        state = self.state
        if state.trouble is None:
            state.trouble_since = time.time()
        state.trouble, state.trouble_text, state.trouble_status = verdict.meaning, verdict.text, verdict.status
        state.next_try = time.time() + seconds
        self._trouble_log.goes_on(verdict, seconds)

    def _recovered(self) -> None:
        self._failures = 0
        self._not_before = 0.0
        self._trouble_log.over(self.stuck_for())
        self.state.trouble = None
        self.state.next_try = 0.0

    def _count(self, records: Sequence[Record], verdict: Verdict) -> None:
        self._doubts, self._good = 0, records[0]
        self.state.taken += len(records)
        self.state.last_taken = time.time()
        if self._on_taken is not None:
            self._on_taken(records, verdict)


def split(records: Sequence[Record], most: int, most_bytes: int) -> Iterator[Sequence[Record]]:
    """Cut `records` into parts of at most `most` records and `most_bytes` bytes as a JSON array, in order.

    A record that is larger alone is a part of its own: Mixpanel says itself what it thinks of it.
    """
    start, size = 0, 2
    for index, record in enumerate(records):
        length = len(record.body) + 1
        if index > start and (index - start >= most or size + length > most_bytes):
            yield records[start:index]
            start, size = index, 2
        size += length
    if start < len(records):
        yield records[start:]
