"""From a batch of the durable stream to Mixpanel: which project, what is left out, what ends as a dead letter.

A batch is acknowledged as a whole when :meth:`Delivery.deliver` returns. With one project it simply waits until
Mixpanel takes events again; the stream keeps them. With several, the events of a project in trouble are put into a
stream of its own after a while, so that the others go on; a worker brings them later.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from band import logger
from band.platform import DEAD_LETTERS, Letter, LetterStream, RedisLink
from send_mixpanel.carried import record_of
from send_mixpanel.history import History
from send_mixpanel.mapping import Event, Record, UnusableEvent, event_time, project_id
from send_mixpanel.options import ENDPOINTS, IMPORT, Options, Project
from send_mixpanel.project_sender import Poster, ProjectSender, Refused
from send_mixpanel.verdict import Verdict

DEAD = DEAD_LETTERS.format(name="send_mixpanel")
HELD = "held:send_mixpanel:{project}"
_HELD_PREFIX = HELD.format(project="")
# Mapping takes some 20 µs an event: let calls and health checks through in between.
_BREATH = 200
_HELD_BATCH = 2000
_HELD_INTERVAL = 1.0
_LOOK_MOST = 2000


class Delivery:
    """Everything between the listener's batch and Mixpanel's answer."""

    def __init__(
        self, options: Options, client: Poster, redis: RedisLink, redis_errors: tuple[type[Exception], ...] = ()
    ) -> None:
        self.options = options
        self.history = History()
        self.skipped = 0
        self.unusable = 0
        self.held = 0
        self.dead = LetterStream(redis, DEAD, options.dead_letters_max, redis_errors)
        self._redis = redis
        self._redis_errors = redis_errors
        senders = [
            ProjectSender(project, client, options, self._on_taken, endpoint=endpoint)
            for endpoint in ENDPOINTS
            for project in (options.default, *options.projects.values())
        ]
        self.senders: dict[str, ProjectSender] = {sender.name: sender for sender in senders}
        self._sorting = asyncio.Lock()
        self._held_streams = {
            name: LetterStream(redis, HELD.format(project=name), errors=redis_errors) for name in self.senders
        }
        self._several = bool(options.projects)

    async def deliver(self, events: Sequence[Event]) -> None:
        """Deliver a batch; returning means that each event was taken, left out on purpose, or is a dead letter."""
        async with asyncio.TaskGroup() as group:
            async with self._sorting:  # batches begin in their order, and so do the changes of profiles in them
                batches, unusable = await self._sort(events)
                for name, records in batches.items():
                    group.create_task(self._deliver_or_hold(name, records))
            if unusable:
                self.unusable += len(unusable)
                await self.dead.add(unusable)

    async def drain_held(self) -> None:
        """Bring held events, for ever with several projects; and once what other settings held."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._drain_strays())
            if self._several:
                for name in self.senders:
                    group.create_task(self._drain_lane(name))

    async def replay(self, letters: Sequence[Letter]) -> dict[str, int]:
        """Send dead letters again; what is refused again comes back with the new reason.

        Those that the settings leave out now stay where they are.
        """
        given = len(letters)
        letters = [letter for letter in letters if self._project_of(letter.event) is not None]
        batches, unusable = await self._sort([letter.event for letter in letters])
        refused = [
            refusal
            for name, records in batches.items()
            for refusal in await self.senders[name].deliver(records)
        ]  # fmt: skip
        # First the new letters, then the old ones go: between the two an event is there twice, never not at all.
        await self.dead.add(unusable + [self._dead_letter(refusal) for refusal in refused])
        await self.dead.remove(letter.stream_id for letter in letters)
        taken = sum(map(len, batches.values())) - len(refused)
        return {
            "replayed": len(letters),
            "taken": taken,
            "refused": len(refused) + len(unusable),
            "left_out": given - len(letters),
        }

    async def find_dead(self, event_id: str) -> dict[str, Any] | None:
        """The dead letter of an event, which lies behind the event's own time; None when there is none, or too far."""
        try:
            after = f"{event_time({'id': event_id})}-0"
        except UnusableEvent:
            return None
        for letter in await self.dead.read(_LOOK_MOST, after):
            if str(letter.event.get("id")) == event_id:
                at = letter.facts.get("at") or letter.stream_id.partition("-")[0]
                return {"outcome": "dead letter", "at": int(at), "answer": letter.facts.get("reason", "")}
        return None

    # --- sorting

    async def _sort(
        self, events: Sequence[Event]
    ) -> tuple[dict[str, list[Record]], list[tuple[Event, Mapping[str, str]]]]:
        batches: dict[str, list[Record]] = {}
        unusable: list[tuple[Event, Mapping[str, str]]] = []
        for number, event in enumerate(events):
            if number % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
            project = self._project_of(event)
            if project is None:
                self.skipped += 1
                self.history.note(event.get("id"), "left out")
                continue
            try:
                record = record_of(event)
                batches.setdefault(_lane(project, record), []).append(record)
            except UnusableEvent as error:
                unusable.append((event, {"reason": str(error), "project": project.name}))
                self.history.note(event.get("id"), "dead letter", str(error))
        return {name: records for name, records in batches.items() if records}, unusable

    def _project_of(self, event: Event) -> Project | None:
        """The project that the event goes to; None for one that the settings leave out."""
        if not self._wanted(str(event.get("key") or "")):
            return None
        own = self.options.projects.get(str(project_id(event)))
        if own is not None:
            return own
        # With a table of projects and no default, what is not in the table is not meant for Mixpanel.
        return None if self._several and self.options.default.auth is None else self.options.default

    def _wanted(self, key: str) -> bool:
        return any(prefix == "*" or key == prefix or key.startswith(f"{prefix}.") for prefix in self.options.keys)

    # --- sending

    async def _deliver_or_hold(self, name: str, records: list[Record]) -> None:
        sender = self.senders[name]
        async with sender.turn if sender.ordered else nullcontext():
            if not self._several:
                await self._bury(await sender.deliver(records))
            else:
                # What is held was there first: changes of profiles do not overtake it.
                held = sender.ordered and await self._held_streams[name].length()
                await self._deliver_within_patience(sender, records, hold=bool(held))

    async def _deliver_within_patience(self, sender: ProjectSender, records: list[Record], *, hold: bool) -> None:
        name, patience = sender.name, self.options.patience
        if sender.usable and not hold and sender.stuck_for() < patience:
            try:
                async with asyncio.timeout(patience):
                    refused = await sender.deliver(records)
            except TimeoutError:
                pass  # part of them may have been taken: sent again, they are still counted once
            else:
                await self._bury(refused)
                return
        self.held += len(records)
        await self._held_streams[name].add([(record.event, {"project": name}) for record in records])

    async def _drain_lane(self, name: str) -> None:
        stream, sender = self._held_streams[name], self.senders[name]
        while True:
            try:
                letters = await stream.read(_HELD_BATCH) if sender.usable else []
                if not letters:
                    await asyncio.sleep(_HELD_INTERVAL)
                    continue
                records, unusable = _records(letters, name)
                await self.dead.add(unusable)
                await self._bury(await sender.deliver(records))
                await stream.remove(letter.stream_id for letter in letters)
            except self._redis_errors:
                await asyncio.sleep(_HELD_INTERVAL)

    async def _drain_strays(self) -> None:
        """Deliver what was held for projects that the settings no longer name, by the settings of today."""
        while True:
            try:
                known = set(self._held_streams) if self._several else set()
                for name in sorted(await self._held_names() - known):
                    await self._drain_stray(name)
            except self._redis_errors:
                await asyncio.sleep(_HELD_INTERVAL)
            else:
                return

    async def _drain_stray(self, name: str) -> None:
        stream, after, left = LetterStream(self._redis, HELD.format(project=name), errors=self._redis_errors), "-", 0
        while letters := await stream.read(_HELD_BATCH, after):
            after = letters[-1].stream_id
            wanted = [letter for letter in letters if self._project_of(letter.event) is not None]
            await self.deliver([letter.event for letter in wanted])
            await stream.remove(letter.stream_id for letter in wanted)
            left += len(letters) - len(wanted)
        if left:
            # Not thrown away: who left them out may not know that they are there.
            logger.warning("mixpanel_held_for_nobody", project=name, events=left, stream=stream.key)

    async def _held_names(self) -> set[str]:
        names: set[str] = set()
        cursor: Any = "0"
        while True:
            cursor, keys = await self._redis.command("SCAN", cursor, "MATCH", f"{_HELD_PREFIX}*", "COUNT", 1000)
            names.update(bytes(key).decode("utf-8", "replace").removeprefix(_HELD_PREFIX) for key in keys)
            if int(cursor) == 0:
                return names

    async def count_held(self) -> int:
        """How many events wait in the streams of their own."""
        return sum([await stream.length() for stream in self._held_streams.values()]) if self._several else 0

    async def _bury(self, refused: Sequence[Refused]) -> None:
        await self.dead.add([self._dead_letter(refusal) for refusal in refused])

    def _dead_letter(self, refusal: Refused) -> tuple[Event, dict[str, str]]:
        event = refusal.record.event
        self.history.note(event.get("id"), "dead letter", refusal.reason)
        facts = {"reason": refusal.reason, "field": refusal.field, "status": str(refusal.status)}
        return event, {**facts, "insert_id": refusal.record.insert_id}

    def _on_taken(self, records: Sequence[Record], verdict: Verdict) -> None:
        answer = f"{verdict.status} {verdict.text}".strip()
        for record in records:
            self.history.note(record.event.get("id"), "taken", answer)


def _records(letters: Sequence[Letter], project: str) -> tuple[list[Record], list[tuple[Event, Mapping[str, str]]]]:
    """The records of held events, and those that a version after the one that held them cannot map."""
    records: list[Record] = []
    unusable: list[tuple[Event, Mapping[str, str]]] = []
    for letter in letters:
        try:
            records.append(record_of(letter.event))
        except UnusableEvent as error:
            unusable.append((letter.event, {"reason": str(error), "project": project}))
    return records, unusable


def _lane(project: Project, record: Record) -> str:
    """Return the name of the sender of a record.

    Raises:
        UnusableEvent: the project's settings are not enough for it.
    """
    if record.endpoint == IMPORT:
        return project.name
    if project.auth is not None and project.token is None:
        raise UnusableEvent(f"Mixpanel's /{record.endpoint} takes the project's token only: set MIXPANEL_TOKEN too")
    return f"{project.name}/{record.endpoint}"


def describe(sender: ProjectSender) -> dict[str, Any]:
    """Facts of one sender for `stats`; nothing secret in it."""
    state = sender.state
    facts: dict[str, Any] = {
        "url": sender.project.url,
        "signed_in_with": sender.project.kind,
        "taken": state.taken,
        "refused": state.refused,
        "requests": state.requests,
        "retries": state.retries,
        "last_taken": int(state.last_taken * 1000) or None,
    }
    if state.trouble is not None:
        facts["trouble"] = {
            "what": state.trouble.value,
            "status": state.trouble_status,
            "said": state.trouble_text,
            "since": int(state.trouble_since * 1000),
            "next_try": int(state.next_try * 1000),
        }
    return facts
