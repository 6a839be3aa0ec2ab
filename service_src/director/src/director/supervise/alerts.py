"""Alerts for the webhook: services, front's alarms, dead letters, a stream without events.

A state must last before it is reported, so flapping is reported once, and a lasting problem is not repeated. Reported
states are kept in Redis, so that a restart of the director repeats nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from band import DecodingError, RedisError
from band.platform import decode, run_forever
from director.discovery.registrations import DEGRADED, FAILING, checks_of, complaining, said
from director.state.store import Store
from director.supervise.status import Sight, StatusBoard
from director.webhook import Happened, Webhook

EVERY_SECONDS = 5.0
OK: Final = "ok"
HOLD_SECONDS: Final = {DEGRADED: 60.0, FAILING: 30.0}
"""Seconds for which a problem must last before it is reported."""
CALM_SECONDS = 60.0
"""Seconds for which a recovery must last before it is reported."""
LETTERS_PAUSE_SECONDS = 600.0
"""Between two messages about the growing dead letters of one service."""
ALARMS: Final[Mapping[str, Happened]] = {
    "stream": "stream_alarm",
    "journal": "journal_alarm",
    "redis_keeps": "redis_alarm",
}
"""front's checks that are alarms of the platform, and the events that report them."""
_RANK: Final = {OK: 0, DEGRADED: 1, FAILING: 2}
_SERVICE_WORDS: Final = {"crashing": FAILING, "stopped": FAILING}
_PART_WORDS: Final = {"unavailable": FAILING}
_QUIET = "events"


class Condition(NamedTuple):
    """A health status: `ok`, `degraded` or `failing`, empty while unknown; and the reason."""

    word: str
    reason: str = ""


class Told(msgspec.Struct):
    """What was reported last: the status of each subject that is not ok, the number of dead letters by service."""

    words: dict[str, str] = {}
    letters: dict[str, int] = {}


class Held:
    """Since when a subject has been at least as bad as each word, or has not."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[bool, float]] = {}

    def due(self, word: str, told: str, now: float) -> str:
        """Return the status that is due to be reported; the last reported one if nothing is due."""
        for level in HOLD_SECONDS:
            bad = _RANK[word] >= _RANK[level]
            if level not in self._since or self._since[level][0] is not bad:
                self._since[level] = (bad, now)
        worse = [level for level in HOLD_SECONDS if _RANK[level] > _RANK[told] and self._lasts(level, now)]
        if worse:
            return max(worse, key=_RANK.__getitem__)
        bad, since = self._since.get(told, (True, now))
        return told if bad or now - since < CALM_SECONDS else word

    def _lasts(self, level: str, now: float) -> bool:
        bad, since = self._since[level]
        return bad and now - since >= HOLD_SECONDS[level]


@dataclass(eq=False)
class Alerts:
    """Checks every five seconds, and sends what is new to the webhook."""

    webhook: Webhook
    store: Store
    namespace: str
    board: StatusBoard
    quiet_minutes: float = 0.0
    clock: Callable[[], float] = time.time
    _told: Told = field(default_factory=Told, init=False)
    _kept: bytes = field(default=b"", init=False)
    _loaded: bool = field(default=False, init=False)
    _held: dict[str, Held] = field(default_factory=dict, init=False)
    _letters_at: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._key = f"{self.namespace}:director:alerts"
        self._quiet_seconds = self.quiet_minutes * 60
        self._began = self.clock()

    async def run(self) -> None:
        """Check until cancelled; returns at once without a webhook."""
        if self.webhook.on:
            await run_forever("alerts", self.turn, pause_seconds=EVERY_SECONDS)

    async def turn(self) -> None:
        """Check once. While Redis is unhealthy, only the platform itself is checked: services cannot be reached."""
        sight, now = self.board.sight(), self.clock()
        seen = dict(_parts(sight))
        if sight.parts.redis.status == OK:
            if not await self._load():
                return  # the last reports are not loaded yet
            seen |= dict(_services(sight)) | dict(_alarms(sight))
            self._tell_letters(sight, now)
            self._tell_silence(sight, now)
            for key in {*self._told.words, *self._held} - {*seen, _QUIET}:  # removed, stopped on purpose, or crashed
                self._held.pop(key, None)
                self._note(key, OK)
        for key, condition in seen.items():
            if condition.word:
                self._judge(key, condition, now)
        if self._loaded and (told := msgspec.json.encode(self._told)) != self._kept:
            await self._keep(told)

    def _judge(self, key: str, condition: Condition, now: float) -> None:
        told = self._told.words.get(key, OK)
        due = self._held.setdefault(key, Held()).due(condition.word, told, now)
        if due == told:
            return
        self._note(key, due)
        kind, _, name = key.partition(" ")
        if kind == "service":
            events: dict[str, Happened] = {OK: "service_recovered", DEGRADED: "service_degraded"}
            reason = f"was {told}" if due == OK else condition.reason
            self.webhook.tell(events.get(due, "service_failing"), name, reason=reason)
        elif due == OK:
            self.webhook.tell("alarm_over", "front", alarm=name)
        elif told == OK:
            self.webhook.tell(ALARMS[name], "front", reason=condition.reason)

    def _tell_letters(self, sight: Sight, now: float) -> None:
        for name, count in sight.dead_letters.items():
            known = self._told.letters.get(name, 0)
            if count > known and now - self._letters_at.get(name, float("-inf")) >= LETTERS_PAUSE_SECONDS:
                self._letters_at[name] = now
                self.webhook.tell("dead_letters", name, count=count, new=count - known)
                self._told.letters[name] = count
            elif count < known:
                self._told.letters[name] = count
        self._told.letters = {name: count for name, count in self._told.letters.items() if count}

    def _tell_silence(self, sight: Sight, now: float) -> None:
        if not self._quiet_seconds:
            return
        silent = now - max(sight.last_event_at, self._began) >= self._quiet_seconds
        word = FAILING if silent else OK
        if word != self._told.words.get(_QUIET, OK):
            self._note(_QUIET, word)
            minutes = round(self._quiet_seconds / 60, 1)
            facts = {"minutes": int(minutes) if minutes.is_integer() else minutes}
            event: Happened = "no_events" if silent else "events_resumed"
            self.webhook.tell(event, "front", **facts, last_event_at=sight.last_event_at or None)

    def _note(self, key: str, word: str) -> None:
        if word == OK:
            self._told.words.pop(key, None)
        else:
            self._told.words[key] = word

    async def _load(self) -> bool:
        """Load the last reports; newer ones in memory win."""
        if not self._loaded:
            try:
                raw = await self.store.command("GET", self._key)
                found = decode(raw, Told) if raw else Told()
            except DecodingError:
                found = Told()
            except RedisError:
                return False
            self._kept = msgspec.json.encode(found)
            self._told = Told(words={**found.words, **self._told.words}, letters=found.letters)
            self._loaded = True
        return True

    async def _keep(self, told: bytes) -> None:
        try:
            await self.store.command("SET", self._key, told)
        except RedisError:
            return  # it is tried again; a restart before that may repeat or forget something
        self._kept = told


def _parts(sight: Sight) -> Iterator[tuple[str, Condition]]:
    for name, part in sight.parts.all().items():
        yield f"service {name}", Condition(_PART_WORDS.get(part.status, part.status), part.reason)


def _services(sight: Sight) -> Iterator[tuple[str, Condition]]:
    """Yield the services that should run; a crashed one has its own messages."""
    for one in sight.services:
        word = _SERVICE_WORDS.get(one.health.word, one.health.word)
        if one.to_run and word != "crashed":
            only_alarms = one.name == "front" and word == DEGRADED and _only_alarms(sight.front)
            known = OK if only_alarms else word if word in _RANK else ""
            yield f"service {one.name}", Condition(known, one.health.reason)


def _only_alarms(front: Mapping[str, Any] | None) -> bool:
    """Return whether all of front's problems are reported as alarms."""
    found = complaining(front)
    return bool(found) and set(found) <= set(ALARMS)


def _alarms(sight: Sight) -> Iterator[tuple[str, Condition]]:
    checks, found = checks_of(sight.front), complaining(sight.front)
    for name in ALARMS:
        if name in checks:
            yield f"alarm {name}", Condition(FAILING, said(found[name])) if name in found else Condition(OK)
