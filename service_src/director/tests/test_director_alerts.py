"""What the webhook is told of services, alarms, dead letters and silence: once, and only of what lasts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from band.errors import RedisUnavailable
from director.discovery.health import Health
from director.state.desired import DesiredService, Spec
from director.supervise.alerts import CALM_SECONDS, EVERY_SECONDS, HOLD_SECONDS, LETTERS_PAUSE_SECONDS, Alerts
from director.supervise.status import DirectorPart, Part, Parts, RedisPart, ServiceStatus, Sight
from director.webhook import SENTENCES, Webhook

START = 1_000_000.0
FAILING, DEGRADED = HOLD_SECONDS["failing"], HOLD_SECONDS["degraded"]


class Redis:
    """A place for one document."""

    def __init__(self) -> None:
        self.kept: bytes | None = None
        self.writes = 0
        self.away = False

    async def command(self, *words: Any) -> Any:
        if self.away:
            raise RedisUnavailable("away")
        if words[0] == "SET":
            self.kept, self.writes = words[2], self.writes + 1
        return self.kept


class Hook(Webhook):
    """Notes what is told."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9/", "ns")
        self.told: list[tuple[str, str]] = []
        self.facts: list[dict[str, Any]] = []

    def tell(self, event: Any, service: str, **facts: Any) -> None:
        super().tell(event, service, **facts)
        self.told.append((event, service))
        self.facts.append(facts)


def checks(**words: str) -> dict[str, Any]:
    """Return a status of front in which each of these checks has that word."""
    found = {name: {"status": word, "reason": f"{name} is {word}", "hint": "do this"} for name, word in words.items()}
    return {"health": {"status": "degraded", "checks": found}}


class World:
    """A director's view that a test changes, and a clock that it turns."""

    def __init__(self, *, quiet_minutes: float = 0.0) -> None:
        self.now = START
        self.redis, self.hook = Redis(), Hook()
        self.rows: dict[str, ServiceStatus] = {}
        self.parts = Parts(
            DirectorPart(status="ok", version="1"), Part(status="ok"), RedisPart(status="ok", desired_loaded=True)
        )
        self.front: dict[str, Any] | None = None
        self.counted = True
        self.last_event_at = 0.0
        self.quiet_minutes = quiet_minutes
        self.begin()

    def begin(self) -> None:
        """Have a director begin, which knows what Redis knows."""
        self.alerts = Alerts(
            self.hook, self.redis, "ns", self, quiet_minutes=self.quiet_minutes, clock=lambda: self.now
        )

    def row(self, name: str, health: str, *, wanted: Any = "running", dead_letters: int = 0, **more: Any) -> None:
        word: Any = health
        self.rows[name] = ServiceStatus(
            name=name, state="running", health=Health(word, more.get("health_reason", f"why {health}")),
            wanted=DesiredService(spec=Spec(name=name, image="i", network="n"), state=wanted),
            dead_letters=dead_letters,
        )  # fmt: skip

    def part(self, name: str, **facts: Any) -> None:
        """Have a part of the platform be otherwise."""
        changed = msgspec.structs.replace(getattr(self.parts, name), **{"reason": "", **facts})
        self.parts = msgspec.structs.replace(self.parts, **{name: changed})

    def sight(self) -> Sight:
        return Sight(
            services=list(self.rows.values()),
            parts=self.parts,
            front=self.front,
            dead_letters={name: row.dead_letters for name, row in self.rows.items()} if self.counted else {},
            last_event_at=self.last_event_at,
        )

    async def passes(self, seconds: float) -> list[tuple[str, str]]:
        """Let time pass; returns what was told in it."""
        before, until = len(self.hook.told), self.now + seconds
        while self.now < until:
            self.now += EVERY_SECONDS
            await self.alerts.turn()
        return self.hook.told[before:]


@pytest.mark.parametrize(
    ("word", "hold", "event"),
    [
        ("failing", FAILING, "service_failing"),
        ("crashing", FAILING, "service_failing"),
        ("stopped", FAILING, "service_failing"),
        ("degraded", DEGRADED, "service_degraded"),
    ],
)
async def test_who_is_unwell_for_long_enough_is_told_once_and_its_recovery_too(
    word: str, hold: float, event: str
) -> None:
    """Not before the state has lasted, not again while it lasts, and well again after a minute of being well."""
    world = World()
    world.row("one", word)
    assert await world.passes(hold) == []
    assert await world.passes(3600) == [(event, "one")]
    assert world.hook.facts[-1]["reason"] == f"why {word}"
    world.row("one", "ok")
    assert await world.passes(CALM_SECONDS) == []
    assert await world.passes(3600) == [("service_recovered", "one")]


async def test_what_flaps_is_told_once() -> None:
    """Ten seconds of being well, now and then, are no recovery; nor is a start under way."""
    world = World()
    world.row("one", "failing")
    assert await world.passes(60) == [("service_failing", "one")]
    for _ in range(20):
        for word in ("ok", "starting", "degraded", "failing"):
            world.row("one", word)
            assert await world.passes(10) == []


async def test_a_moment_of_being_unwell_is_nothing() -> None:
    """A deploy, a restart of Redis, a slow answer: none lasts."""
    world = World()
    for word in ("failing", "ok", "degraded", "ok", "starting", "failing", "ok"):
        world.row("one", word)
        assert await world.passes(FAILING - EVERY_SECONDS) == []


async def test_it_gets_worse_and_better_step_by_step() -> None:
    """Each word that lasts is told: degraded, failing, degraded again, well."""
    world = World()
    heard = []
    for word in ("degraded", "failing", "degraded", "ok"):
        world.row("one", word)
        heard += await world.passes(300)
    assert [event for event, _ in heard] == [
        "service_degraded", "service_failing", "service_degraded", "service_recovered",
    ]  # fmt: skip


async def test_a_service_that_crashed_was_stopped_or_removed_is_told_of_no_more() -> None:
    """The first has messages of its own, the others are somebody's wish: no recovery is told of any of them."""
    world = World()
    for name in ("crashed", "stopped", "removed"):
        world.row(name, "failing")
    assert len(await world.passes(60)) == 3
    world.row("crashed", "crashed")
    world.row("stopped", "stopped", wanted="stopped")
    del world.rows["removed"]
    assert await world.passes(60) == []
    for name in world.rows:
        world.row(name, "ok")
    assert await world.passes(300) == []


async def test_a_director_that_begins_anew_repeats_nothing_and_forgets_nothing() -> None:
    """What was told is kept in Redis, and written only when it changes."""
    world = World()
    world.row("one", "failing", dead_letters=7)
    assert await world.passes(600) == [("dead_letters", "one"), ("service_failing", "one")]
    assert world.redis.writes == 2
    world.begin()
    assert await world.passes(600) == []
    world.row("one", "ok", dead_letters=7)
    assert await world.passes(600) == [("service_recovered", "one")]
    world.redis.kept = b"\xff"  # whatever somebody wrote there
    world.begin()
    assert await world.passes(60) == [("dead_letters", "one")]


async def test_while_redis_is_not_well_only_that_is_told() -> None:
    """Nobody can be heard then: the silence of all services is one message, not one each."""
    world = World()
    world.row("one", "ok")
    assert await world.passes(60) == []
    world.part("redis", status="unavailable", reason="refused")
    world.redis.away = True
    for word in ("degraded", "failing"):
        world.row("one", word)
    assert await world.passes(600) == [("service_failing", "redis")]
    world.part("redis", status="ok")
    world.redis.away = False
    world.row("one", "ok")
    assert await world.passes(600) == [("service_recovered", "redis")]


async def test_what_was_told_while_redis_could_not_remember_it_is_kept_afterwards() -> None:
    """A director that begins just after an outage of Redis still tells its end."""
    world = World()
    await world.passes(60)
    world.redis.away = True
    world.part("redis", status="failing", reason="MISCONF")
    assert await world.passes(60) == [("service_failing", "redis")]
    world.redis.away = False
    world.part("redis", status="ok")
    assert await world.passes(10) == []
    world.begin()
    assert await world.passes(90) == [("service_recovered", "redis")]


async def test_docker_and_the_director_itself_are_told_too() -> None:
    """Away is failing; a failing loop of the director is degraded."""
    world = World()
    world.part("docker", status="unavailable", reason="no socket")
    world.part("director", status="degraded", reason="its background loop usage is failing")
    assert await world.passes(120) == [("service_failing", "docker"), ("service_degraded", "director")]


async def test_fronts_checks_are_alarms_of_their_own() -> None:
    """Stream, journal and Redis' disk and memory: one message each, instead of a front that is degraded."""
    world = World()
    world.row("front", "degraded")
    world.front = checks(stream="degraded", journal="degraded", redis_keeps="ok")
    assert await world.passes(300) == [("stream_alarm", "front"), ("journal_alarm", "front")]
    assert world.hook.facts[0]["reason"] == "stream is degraded (do this)"
    world.front = checks(stream="ok", journal="degraded", redis_keeps="degraded")
    assert sorted(await world.passes(300)) == [("alarm_over", "front"), ("redis_alarm", "front")]
    assert {"alarm": "stream"} in world.hook.facts


async def test_a_front_that_refuses_events_is_told_although_its_alarm_is() -> None:
    """Failing is failing; and what is no alarm of the platform makes it degraded as any other service."""
    world = World()
    world.row("front", "failing")
    world.front = checks(journal="failing")
    assert sorted(await world.passes(300)) == [("journal_alarm", "front"), ("service_failing", "front")]
    world.row("front", "degraded")
    world.front = checks(enrichers="degraded", journal="ok", stream="ok", redis_keeps="ok")
    assert sorted(await world.passes(300)) == [("alarm_over", "front"), ("service_degraded", "front")]


@pytest.mark.parametrize(
    "front", [None, {}, {"health": 5}, {"health": {"checks": []}}, {"health": {"checks": {"stream": 1}}}]
)
async def test_a_front_that_says_nothing_of_its_checks_raises_no_alarm(front: Any) -> None:
    """The original's says nothing at all."""
    world = World()
    world.row("front", "ok")
    world.front = front
    assert await world.passes(300) == []


async def test_dead_letters_are_told_when_there_are_more() -> None:
    """At once, then not more often than every ten minutes; fewer are no news, and what comes after that is."""
    world = World()
    world.row("one", "ok", dead_letters=1)
    assert await world.passes(EVERY_SECONDS) == [("dead_letters", "one")]
    assert world.hook.facts[-1] == {"count": 1, "new": 1}
    world.row("one", "ok", dead_letters=50)
    assert await world.passes(LETTERS_PAUSE_SECONDS - EVERY_SECONDS) == []
    assert await world.passes(3600) == [("dead_letters", "one")]
    assert world.hook.facts[-1] == {"count": 50, "new": 49}
    world.row("one", "ok", dead_letters=0)
    assert await world.passes(60) == []
    world.row("one", "ok", dead_letters=2)
    assert await world.passes(60) == [("dead_letters", "one")]
    assert world.hook.facts[-1] == {"count": 2, "new": 2}


async def test_a_director_that_begins_and_has_not_counted_yet_tells_no_dead_letters_again() -> None:
    """Its first look comes before the first count; what came while it was away is told with the right number."""
    world = World()
    world.row("one", "ok", dead_letters=22)
    assert await world.passes(60) == [("dead_letters", "one")]
    world.begin()
    world.counted = False
    assert await world.passes(10) == []
    world.counted = True
    assert await world.passes(60) == []
    world.row("one", "ok", dead_letters=25)
    assert await world.passes(60) == [("dead_letters", "one")]
    assert world.hook.facts[-1] == {"count": 25, "new": 3}


async def test_a_stream_without_events_is_told_of_where_that_was_asked_for() -> None:
    """After so many minutes since the newest event, or since the director began; and when they come again."""
    world = World(quiet_minutes=30)
    assert await world.passes(29 * 60) == []
    assert await world.passes(3600) == [("no_events", "front")]
    assert world.hook.facts[-1] == {"minutes": 30, "last_event_at": None}
    world.last_event_at = world.now
    assert await world.passes(60) == [("events_resumed", "front")]
    assert await world.passes(3600) == [("no_events", "front")]
    assert World().quiet_minutes == 0
    silent = World()
    assert await silent.passes(86_400) == []


def test_every_message_has_a_text_that_chat_programs_show() -> None:
    """One sentence with the namespace before it; the fields beside it as they are."""
    hook = Hook()
    facts: dict[str, Any] = {
        "reason": "it {is} full", "from": "a1", "to": "b2", "count": 3, "new": 2, "alarm": "stream", "minutes": 30,
    }  # fmt: skip
    for event in SENTENCES:
        hook.tell(event, "one", **facts)
    messages = [hook._queue.get_nowait() for _ in SENTENCES]
    assert all(message["text"].startswith("ns: ") for message in messages)
    assert messages[3] | {"at": 0} == {
        "event": "service_failing", "service": "one", "namespace": "ns", "at": 0,
        "text": "ns: one is failing: it {is} full", **facts,
    }  # fmt: skip
