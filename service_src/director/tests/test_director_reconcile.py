"""The reconciler as a pure function: single decisions, and whole histories against a simulated engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from director.crashes import End, Record
from director.desired import Wanted
from director.health import LONGEST_DELAY, restart_delay, verdict
from director.reconcile import Action, Plan, World, primary_name, reconcile
from director.runtime.container import Placement, container_config, spec_of
from director.runtime.face import LABEL_SPEC, Observed
from director.spec import Spec

NOW = 1_000_000.0


def spec(name: str = "one", image: str = "ns/one:1", **more: Any) -> Spec:
    return Spec(name=name, image=image, network="net", **more)


def wanted(state: Any = "running", **more: Any) -> Wanted:
    return Wanted(spec=spec(**more), state=state)


def seen(**more: Any) -> Observed:
    given_config = more.pop("config", None) or spec().hash()
    return Observed(**{"id": "c1", "name": "one", "service": "one", "config": given_config, **more})


def decide(desired: Any, *observed: Observed, now: float = NOW, **more: Any) -> Plan:
    found = {item.spec.name: item for item in desired} if desired is not None else None
    return reconcile(World(desired=found, observed=observed, now=now, **more))


def verbs(plan: Plan) -> list[tuple[str, str]]:
    return [(action.verb, action.container) for action in plan.actions]


def test_nothing_to_do_is_an_empty_plan() -> None:
    """What is as it should be is left alone."""
    assert decide([wanted()], seen()) == Plan([], None)


@pytest.mark.parametrize(
    ("want", "observed", "expected"),
    [
        (wanted(), [], [("deploy", "")]),
        (wanted(), [seen(state="exited")], [("start", "c1")]),
        (wanted(), [seen(state="created")], [("start", "c1")]),
        (wanted(), [seen(config="other")], [("deploy", "")]),
        (wanted(), [seen(state="restarting")], []),
        (wanted(), [seen(state="paused")], []),
        (wanted(), [seen(name="one.next")], [("rename", "c1")]),
        (wanted(), [seen(), seen(id="c2", name="one.next", config="new")], [("remove", "c2")]),
        (wanted(), [seen(config="old"), seen(id="c2", name="one.next")], [("remove", "c1"), ("rename", "c2")]),
        (wanted(), [seen(state="exited"), seen(id="c2", name="one.next")], [("remove", "c1"), ("rename", "c2")]),
        (wanted("stopped"), [seen()], [("stop", "c1")]),
        (wanted("stopped"), [seen(state="exited")], []),
        (wanted("removed"), [seen()], [("remove", "c1")]),
        (wanted("removed"), [], [("forget", "")]),
        (wanted(auto_remove=True), [], [("forget", "")]),
    ],
)
def test_decisions(want: Wanted, observed: list[Observed], expected: list[tuple[str, str]]) -> None:
    """Each difference between what should be and what is has its step."""
    assert verbs(decide([want], *observed)) == expected


def test_without_knowledge_of_what_should_run_only_core_is_touched() -> None:
    """While Redis cannot be read nothing of the services is changed, and Redis itself is started."""
    redis = seen(id="r", name="redis", service="redis", kind="core", state="exited", finished_at=NOW - 5)
    assert verbs(decide(None, redis, seen(state="exited"))) == [("start", "r")]


def test_core_waits_a_moment_and_never_starts_itself() -> None:
    """Whoever replaces a core container on purpose gets to it first; the director does not act on itself."""
    redis = seen(id="r", service="redis", kind="core", state="exited", finished_at=NOW - 0.2)
    assert decide([], redis) == Plan([], NOW + 0.8)
    assert decide([], redis, now=NOW + 1, self_id="r").actions == []


def test_busy_services_are_left_alone() -> None:
    """A service that somebody is working on gets no action, whatever it looks like."""
    assert decide([wanted()], busy=frozenset({"one"})).actions == []


def test_containers_nobody_asked_for_are_taken_in_not_removed() -> None:
    """When Redis lost its memory, running containers become what should be; those without a spec are left."""
    plan = decide([], seen(labels={LABEL_SPEC: "{}"}), seen(id="x", service="two"))
    assert verbs(plan) == [("adopt", "c1")]


def ends(*ago: float, kind: Any = "crash") -> Record:
    """Return a record of ends so many seconds before NOW."""
    return Record(ends=tuple(End(NOW - seconds, kind, 3) for seconds in ago))


def test_ends_back_off_and_are_forgotten() -> None:
    """The first end is put right at once, further ones after 1, 2, 4 … 60 s; out of the window they do not count."""
    assert [restart_delay([NOW] * count) for count in range(1, 10)] == [0, 1, 2, 4, 8, 16, 32, LONGEST_DELAY, 60]
    records = {"one": ends(3, 1.5, 0.5)}
    assert decide([wanted()], seen(state="exited"), records=records) == Plan([], NOW + 1.5)
    assert verbs(decide([wanted()], seen(state="exited"), records=records, now=NOW + 1.6)) == [("start", "c1")]
    assert verbs(decide([wanted()], seen(state="exited"), records={"one": ends(*[301.0] * 9)})) == [("start", "c1")]


def test_the_word_for_how_a_service_is() -> None:
    """Docker's state, Docker's health, what the service says and its crashes become one word."""
    assert verdict("running", "healthy", "ok", 0) == "ok"
    assert verdict("running", "unhealthy", "ok", 0) == "failing"
    assert verdict("running", "starting", None, 0) == "starting"
    assert verdict("running", "", "degraded", 1) == "degraded"
    assert verdict("restarting", "", None, 0) == verdict("running", "", "ok", 3) == "crashing"
    assert verdict("exited", "", None, 0) == "stopped"


def test_a_spec_survives_its_container() -> None:
    """The spec read back from a container's labels and environment is the one it was made from, secrets in no label."""
    given_spec = spec(env={"TOKEN": "s3cret", "A": "b=c"}, secrets=("TOKEN",), volumes={"data": "/data"})
    config = container_config(given_spec, Placement(namespace="ns", ports={8900: 8080}, env={"X": "1"}, memory="350m"))
    assert "s3cret" not in str(config["Labels"])
    env = dict(item.split("=", 1) for item in config["Env"])
    assert spec_of(seen(labels=config["Labels"], env=env)) == given_spec


def test_the_container_is_hardened_by_default() -> None:
    """Without a word about it, a container gets no capability, no privilege, no writable root, and limits."""
    config = container_config(spec(), Placement(namespace="ns", ports={8900: 8080}, env={}, memory="350m"))
    host = config["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["ReadonlyRootfs"] is True
    assert host["Memory"] == host["MemorySwap"] == 350 * 1024**2
    assert host["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8900"}]}


class Engine:
    """A simulated engine with services in it: things happen to it, and actions are done on it."""

    def __init__(self) -> None:
        self.desired: dict[str, Wanted] = {}
        self.containers: dict[str, Observed] = {}
        self.records: dict[str, Record] = {}
        self.now = NOW
        self._ids = itertools.count(1)

    def create(self, name: str, service: str, config: str, state: Any = "running", want: Wanted | None = None) -> None:
        found = f"c{next(self._ids)}"
        labels = {LABEL_SPEC: msgspec.json.encode(want.spec).decode()} if want else {}
        self.containers[found] = Observed(
            id=found, name=name, service=service, config=config, state=state, created_at=self.now, labels=labels
        )

    def change(self, found: str, **more: Any) -> None:
        self.containers[found] = msgspec.structs.replace(self.containers[found], **more)

    def plan(self) -> Plan:
        return reconcile(
            World(desired=self.desired, observed=self.containers.values(), now=self.now, records=self.records)
        )

    def do(self, action: Action) -> None:
        want = self.desired.get(action.service)
        primary = primary_name("rockstat", action.service)
        match action.verb:
            case "deploy":
                assert want is not None
                for found in [item.id for item in self.of(action.service)]:
                    del self.containers[found]
                self.create(primary, action.service, want.spec.hash(), want=want)
            case "start":
                self.change(action.container, state="running")
            case "stop":
                self.change(action.container, state="exited")
            case "remove":
                del self.containers[action.container]
            case "rename":
                assert all(item.name != primary for item in self.containers.values()), "a name belongs to one"
                self.change(action.container, name=primary)
            case "forget":
                del self.desired[action.service]
            case "adopt":
                item = self.containers[action.container]
                found = msgspec.json.decode(item.labels[LABEL_SPEC], type=Spec)
                self.desired[action.service] = Wanted(spec=found, state="running" if item.alive else "stopped")

    def of(self, service: str) -> list[Observed]:
        return [item for item in self.containers.values() if item.service == service]

    def settle(self) -> None:
        for _ in range(40):
            plan = self.plan()
            if not plan.actions and plan.due is None:
                return
            for action in plan.actions:
                self.do(action)
            self.now = max(self.now + 0.1, plan.due or 0.0)
        raise AssertionError(f"it does not come to rest: {self.plan()}")


SERVICES = ("one", "two")
HAPPENINGS: dict[str, Callable[[Engine, str, int], None]] = {
    "want": lambda engine, name, n: engine.desired.update({name: wanted("running", name=name, image=f"i:{n}")}),
    "unwant": lambda engine, name, n: _state(engine, name, "stopped"),
    "remove": lambda engine, name, n: _state(engine, name, "removed"),
    "kill": lambda engine, name, n: _end(engine, name, n, "exited"),
    "vanish": lambda engine, name, n: _vanish(engine, name, n),
    "half-deploy": lambda engine, name, n: _half(engine, name, n),
    "amnesia": lambda engine, name, n: engine.desired.clear(),
    "pass": lambda engine, name, n: engine.settle(),
}


def _state(engine: Engine, name: str, state: Any) -> None:
    if name in engine.desired:
        engine.desired[name] = msgspec.structs.replace(engine.desired[name], state=state)


def _end(engine: Engine, name: str, number: int, state: Any) -> None:
    for item in engine.of(name)[: number + 1]:
        engine.change(item.id, state=state, finished_at=engine.now)
        before = engine.records.get(name, Record())
        engine.records[name] = Record(ends=(*before.ends, End(engine.now, "quit", 0)))


def _vanish(engine: Engine, name: str, number: int) -> None:
    for item in engine.of(name)[: number + 1]:
        del engine.containers[item.id]


def _half(engine: Engine, name: str, number: int) -> None:
    """What a director killed in the middle of a deploy leaves: before or after the switch was written."""
    names = {item.name for item in engine.of(name)}
    if f"{name}.next" not in names:
        want = wanted(name=name, image=f"i:{number}")
        engine.create(f"{name}.next", name, want.spec.hash(), want=want)
        if number % 2:
            engine.desired[name] = want


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(HAPPENINGS)), st.sampled_from(SERVICES), st.integers(0, 3))))
def test_whatever_happens_what_is_asked_for_comes_to_be(history: list[tuple[str, str, int]]) -> None:
    """After any history the plan becomes empty, and then each service is one container as it should be, or none."""
    engine = Engine()
    for what, name, number in history:
        HAPPENINGS[what](engine, name, number)
    engine.settle()
    for name in SERVICES:
        want, found = engine.desired.get(name), engine.of(name)
        if want is None:
            assert found == []
        elif want.state == "running":
            assert [(item.name, item.state, item.config) for item in found] == [(name, "running", want.spec.hash())]
        else:
            assert all(not item.alive for item in found)
            assert len(found) <= 1
