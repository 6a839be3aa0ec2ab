"""The reconciler over many histories, against a simulated engine: what is asked for comes to be in the end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from director.engine.interface import LABEL_SPEC, Container, primary_name
from director.state import history
from director.state.crash_log import NO_RECORD, CrashLimits, CrashLoop, CrashRecord, ExitRecord, Kind
from director.state.desired import DesiredService, Spec
from director.supervise.policy import SILENT_ASKS, Trial
from director.supervise.reconcile import Action, Plan, World, reconcile

SERVICES = ("one", "two")
WATCH = 60.0
FOREIGN = "foreign"


class Engine:
    """Services, what is remembered of them, and the time; things happen to it, and actions are done on it."""

    def __init__(self, cooldown: float) -> None:
        self.desired: dict[str, DesiredService] = {}
        self.containers: dict[str, Container] = {}
        self.records: dict[str, CrashRecord] = {}
        self.histories: dict[str, history.History] = {}
        self.unanswered: dict[str, int] = {}
        self.limits = CrashLimits(count=3, window=300.0, cooldown=cooldown)
        self.now = 1_000_000.0
        self._ids = itertools.count(1)
        # It carries our labels, and nobody knows what it is: it must outlive everything.
        self.create(FOREIGN, FOREIGN, "what", None, state="exited")

    def create(self, name: str, service: str, config: str, want: DesiredService | None, state: Any = "running") -> str:
        found = f"c{next(self._ids)}"
        assert all(item.name != name for item in self.containers.values()), "a name belongs to one"
        labels = {LABEL_SPEC: msgspec.json.encode(want.spec).decode()} if want else {}
        self.containers[found] = Container(
            id=found, name=name, service=service, config=config, state=state, created_at=self.now, labels=labels,
            started_at=self.now, restart_policy="unless-stopped",
        )  # fmt: skip
        return found

    def change(self, found: str, **more: Any) -> None:
        self.containers[found] = msgspec.structs.replace(self.containers[found], **more)

    def of(self, service: str) -> list[Container]:
        return [item for item in self.containers.values() if item.service == service]

    def record(self, service: str) -> CrashRecord:
        return self.records.get(service, NO_RECORD)

    def trials(self) -> dict[str, Trial]:
        found = {}
        for name, releases in self.histories.items():
            serving, want = history.current(releases), self.desired.get(name)
            if serving is not None and serving.watch_until and want is not None and want.state == "running":
                unanswered = self.unanswered.get(name, 0)
                found[name] = Trial(since=serving.since, until=serving.watch_until, unanswered=unanswered)
        return found

    def plan(self) -> Plan:
        return reconcile(
            World(
                desired=self.desired, observed=self.containers.values(), now=self.now, records=self.records,
                limits=self.limits, trials=self.trials(),
            )
        )  # fmt: skip

    def replace(self, service: str) -> None:
        """What a deploy does to the engine: a fresh container in the place of whatever there was."""
        want = self.desired[service]
        for item in self.of(service):
            del self.containers[item.id]
        self.create(primary_name("rockstat", service), service, want.spec.hash(), want)
        self.unanswered.pop(service, None)

    def note(self, service: str, kind: Kind, code: int) -> None:
        record = self.record(service)
        self.records[service] = msgspec.structs.replace(record, ends=(*record.ends, ExitRecord(self.now, kind, code)))

    def do(self, action: Action) -> None:
        name, record = action.service, self.record(action.service)
        still = record.crash is not None and record.tried_at <= record.crash.at
        assert not (still and action.verb in {"start", "deploy", "uncurb"}), f"a crashed one is started: {action}"
        assert name != FOREIGN, f"that is not ours: {action}"
        getattr(self, f"_{action.verb}")(name, action.container)

    def _deploy(self, name: str, _container: str) -> None:
        self.replace(name)

    def _start(self, _name: str, container: str) -> None:
        self.change(container, state="running", started_at=self.now)

    def _stop(self, _name: str, container: str) -> None:
        self.change(container, state="exited", finished_at=self.now)

    def _remove(self, _name: str, container: str) -> None:
        del self.containers[container]

    def _rename(self, name: str, container: str) -> None:
        primary = primary_name("rockstat", name)
        assert all(item.name != primary for item in self.containers.values()), "a name belongs to one"
        self.change(container, name=primary)

    def _forget(self, name: str, _container: str) -> None:
        for memory in (self.desired, self.histories, self.records):
            memory.pop(name, None)

    def _adopt(self, name: str, container: str) -> None:
        item = self.containers[container]
        spec = msgspec.json.decode(item.labels[LABEL_SPEC], type=Spec)
        self.desired[name] = DesiredService(spec=spec, state="running" if item.alive else "stopped")
        self.histories[name] = history.deployed((), self.desired[name], "adopted", self.now, 0)

    def _roll_back(self, name: str, _container: str) -> None:
        found = self.histories[name]
        target = history.previous(found)
        if target is None:
            self.histories[name] = history.proven(found, float("inf"))
            return
        self.histories[name] = history.rolled_back(found, target, "watch", "why", self.now, WATCH)
        self.desired[name] = DesiredService(spec=target.spec)
        self.records.pop(name, None)
        self.replace(name)

    def _prove(self, name: str, _container: str) -> None:
        self.histories[name] = history.proven(self.histories[name], self.now)

    def _crash(self, name: str, container: str) -> None:
        if container:
            self.change(container, state="exited", finished_at=self.now)
        crash = CrashLoop(reason="", exit_code=3, oom_killed=False, at=self.now, last_lines=[])
        self.records[name] = msgspec.structs.replace(self.record(name), crash=crash, tried_at=0.0)

    def _retry(self, name: str, container: str) -> None:
        crash, item = self.record(name).crash, self.containers.get(container)
        assert crash is not None
        by_hand = item is not None and item.alive and item.started_at > crash.at
        assert by_hand or (self.limits.cooldown and self.now >= crash.at + self.limits.cooldown)
        self.records[name] = msgspec.structs.replace(self.record(name), tried_at=self.now + 0.001)
        if item is not None and item.config == self.desired[name].spec.hash():
            self.change(container, state="running", started_at=self.now)
        else:
            self.replace(name)

    def _recover(self, name: str, _container: str) -> None:
        self.records.pop(name)

    def _curb(self, _name: str, container: str) -> None:
        self.change(container, restart_policy="no")

    def _uncurb(self, _name: str, container: str) -> None:
        self.change(container, restart_policy="unless-stopped")

    def turn(self) -> Plan:
        """One turn of the loop: what is decided is done."""
        plan = self.plan()
        for action in plan.actions:
            self.do(action)
        return plan

    def settle(self) -> None:
        """Take turns until there is nothing to do and nothing to wait for."""
        for number in range(60):
            plan = self.turn()
            if not plan.actions and plan.due is None:
                return
            if number > 3 and not plan.actions:
                self.only_one_serves()
            self.now = max(self.now + 0.1, plan.due or 0.0)
        raise AssertionError(f"it does not come to rest: {self.plan()}")

    def only_one_serves(self) -> None:
        for name in SERVICES:
            if name in self.desired:
                assert len([item for item in self.of(name) if item.alive]) <= 1, "two serve at once"


def spec(name: str, number: int) -> Spec:
    return Spec(name=name, image=f"ns/{name}:{number}", network="net")


def run(engine: Engine, name: str, number: int) -> None:
    """A deploy that succeeds."""
    want = DesiredService(spec=spec(name, number))
    engine.histories[name] = history.deployed(engine.histories.get(name, ()), want, "run", engine.now, WATCH)
    engine.desired[name] = want
    engine.records.pop(name, None)
    engine.replace(name)


def start(engine: Engine, name: str, _number: int) -> None:
    if name in engine.desired and engine.desired[name].state != "removed":
        engine.desired[name] = msgspec.structs.replace(engine.desired[name], state="running")
        engine.records.pop(name, None)
        engine.replace(name)


def set_state(state: Any) -> Callable[[Engine, str, int], None]:
    def change(engine: Engine, name: str, _number: int) -> None:
        if name in engine.desired:
            engine.desired[name] = msgspec.structs.replace(engine.desired[name], state=state)

    return change


def end(kind: Kind, code: int) -> Callable[[Engine, str, int], None]:
    """What runs ends; the engine starts it again by itself, or not (somebody killed it, or the engine was curbed)."""

    def happen(engine: Engine, name: str, number: int) -> None:
        for item in engine.of(name):
            if not item.alive:
                continue
            engine.note(name, kind, code)
            if number % 2 and kind != "outside" and item.restart_policy != "no":
                engine.change(item.id, restarts=item.restarts + 1, started_at=engine.now)
            else:
                engine.change(item.id, state="exited", exit_code=code, finished_at=engine.now)

    return happen


def half(engine: Engine, name: str, number: int) -> None:
    """What a director killed in the middle of a deploy leaves: before or after the switch was written."""
    if f"{name}.next" not in {item.name for item in engine.of(name)}:
        want = DesiredService(spec=spec(name, number))
        engine.create(f"{name}.next", name, want.spec.hash(), want)
        if number % 2:
            engine.desired[name] = want
            engine.histories[name] = history.deployed(engine.histories.get(name, ()), want, "run", engine.now, WATCH)


def vanish(engine: Engine, name: str, number: int) -> None:
    for item in engine.of(name)[: number + 1]:
        del engine.containers[item.id]


def engine_dies(engine: Engine, _name: str, _number: int) -> None:
    """The engine went away and came back: nothing runs, and nobody heard of any end."""
    for item in list(engine.containers.values()):
        if item.alive:
            engine.change(item.id, state="exited", exit_code=255, finished_at=engine.now)


def amnesia(engine: Engine, _name: str, _number: int) -> None:
    """Redis lost everything."""
    for memory in (engine.desired, engine.histories, engine.records):
        memory.clear()


def director_restarts(engine: Engine, name: str, _number: int) -> None:
    """What was not written when the director died is lost: the last end."""
    record = engine.record(name)
    engine.records[name] = msgspec.structs.replace(record, ends=record.ends[:-1])
    engine.unanswered.clear()


def silent(engine: Engine, name: str, _number: int) -> None:
    engine.unanswered[name] = SILENT_ASKS


def unhealthy(engine: Engine, name: str, _number: int) -> None:
    for item in engine.of(name):
        engine.change(item.id, health="unhealthy")


def by_hand(engine: Engine, name: str, _number: int) -> None:
    """Somebody starts with Docker what lies there."""
    for item in engine.of(name):
        if not item.alive:
            engine.change(item.id, state="running", started_at=engine.now)


def crash_loop(engine: Engine, name: str, _number: int) -> None:
    """It crashes whenever it was started again, as often as it takes."""
    for _ in range(engine.limits.count):
        end("crash", 3)(engine, name, 0)
        engine.now += 2.5
        engine.turn()


def bad_run(engine: Engine, name: str, number: int) -> None:
    """A release that answers, and misbehaves after the switch."""
    run(engine, name, number)
    engine.now += 5
    (end("crash", 3), end("quit", 0), silent, unhealthy)[number](engine, name, 0)


def passes(engine: Engine, _name: str, number: int) -> None:
    engine.now += (0.5, 5.0, 61.0, 2000.0)[number]


HAPPENINGS: dict[str, Callable[[Engine, str, int], None]] = {
    "run": run, "bad run": bad_run, "crash loop": crash_loop,
    "start": start, "stop": set_state("stopped"), "rm": set_state("removed"),
    "crash": end("crash", 3), "quit": end("quit", 0), "docker kill": end("outside", 137), "docker start": by_hand,
    "half-deploy": half, "vanish": vanish, "engine dies": engine_dies, "amnesia": amnesia,
    "director restarts": director_restarts, "silent": silent, "unhealthy": unhealthy, "time passes": passes,
    "a turn": lambda engine, name, number: engine.turn() and None,
    "settles": lambda engine, name, number: engine.settle(),
}  # fmt: skip
OFTEN = [*sorted(HAPPENINGS), *["run"] * 3, *["bad run"] * 2, *["crash loop"] * 2, *["settles"] * 2]
HAPPENING = st.tuples(st.sampled_from(OFTEN), st.sampled_from(("one", "one", "two")), st.integers(0, 3))
HISTORY = st.lists(HAPPENING, max_size=12) | st.lists(HAPPENING, min_size=8, max_size=30)


@settings(max_examples=400, deadline=None)
@given(HISTORY, st.sampled_from((0.0, 600.0)))
def test_whatever_happens_what_is_asked_for_comes_to_be(lived: list[tuple[str, str, int]], cooldown: float) -> None:
    """After any history the plan becomes empty, and then each service is one container as it should be, or none.

    On the way no crashed one is started but by a person or the cooldown, nothing unknown is touched, no name is given
    twice, and two containers of a service do not serve side by side.
    """
    engine = Engine(cooldown)
    for what, name, number in lived:
        HAPPENINGS[what](engine, name, number)
    engine.settle()
    assert engine.of(FOREIGN)
    for name in SERVICES:
        want, found, record = engine.desired.get(name), engine.of(name), engine.record(name)
        if want is None:
            assert found == []
        elif want.state != "running":
            assert all(not item.alive for item in found)
            assert len(found) <= 1
        elif record.crash is not None:
            assert not cooldown
            assert not [item for item in found if item.alive]
        else:
            assert [(item.name, item.state, item.config) for item in found] == [(name, "running", want.spec.hash())]


@settings(max_examples=60, deadline=None)
@given(HISTORY, st.integers(0, 3))
def test_a_release_that_fails_its_watch_makes_room(lived: list[tuple[str, str, int]], number: int) -> None:
    """Whatever was before: a proven release, then a bad one, and in the end the proven one serves; the bad is known."""
    engine = Engine(600.0)
    for what, name, other in lived:
        HAPPENINGS[what](engine, name, other)
    run(engine, "one", 77)
    engine.settle()
    bad_run(engine, "one", number)
    engine.settle()
    good, bad = spec("one", 77), spec("one", number)
    states = {item.spec.image: item.state for item in engine.histories["one"]}
    assert (states[good.image], states[bad.image]) == ("current", "rolled_back")
    assert engine.desired["one"].spec == good
    assert [item.config for item in engine.of("one") if item.alive] == [good.hash()]


@settings(max_examples=200, deadline=None)
@given(HISTORY)
def test_the_histories_of_releases_stay_sound(lived: list[tuple[str, str, int]]) -> None:
    """There is one current release at most, it is what should run, and none is on trial without one to go back to."""
    engine = Engine(600.0)
    for what, name, number in lived:
        HAPPENINGS[what](engine, name, number)
    engine.settle()
    for name, found in engine.histories.items():
        states = [item.state for item in found]
        assert states.count("current") == 1
        serving = history.current(found)
        assert serving is not None
        assert serving.spec == engine.desired[name].spec
        assert serving.watch_until == 0 or engine.desired[name].state != "running"
        assert len({item.spec.hash() for item in found}) == len(found)
        assert serving.spec.image in history.kept_images(found, 1)
        assert all(item in found for item in history.trimmed(found, 2))
