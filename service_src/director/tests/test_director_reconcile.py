"""The reconciler as a pure function: single decisions, and whole histories against a simulated engine."""

from __future__ import annotations

from typing import Any

import pytest

from director.engine.docker_json import Placement, container_config, spec_of
from director.engine.interface import LABEL_SPEC, Container
from director.state.crash_log import CrashLimits, CrashLoop, CrashRecord, ExitRecord
from director.state.desired import DesiredService, Spec
from director.supervise.policy import LONGEST_DELAY, SILENT_ASKS, Trial, restart_delay
from director.supervise.reconcile import Plan, World, reconcile

NOW = 1_000_000.0


def spec(name: str = "one", image: str = "ns/one:1", **more: Any) -> Spec:
    return Spec(name=name, image=image, network="net", **more)


def wanted(state: Any = "running", **more: Any) -> DesiredService:
    return DesiredService(spec=spec(**more), state=state)


def seen(**more: Any) -> Container:
    given_config = more.pop("config", None) or spec().hash()
    return Container(**{"id": "c1", "name": "one", "service": "one", "config": given_config, **more})


def decide(desired: Any, *observed: Container, now: float = NOW, **more: Any) -> Plan:
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
def test_decisions(want: DesiredService, observed: list[Container], expected: list[tuple[str, str]]) -> None:
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


def test_who_is_cut_off_from_the_network_is_connected_again() -> None:
    """Services, Redis and the director itself; after a try that failed, with backoff. What is stopped waits."""
    cut = seen(cut_off_from="net")
    assert verbs(decide([wanted()], cut)) == [("connect", "c1")]
    assert decide([wanted()], cut, records={"one": ends(1.5, 0.5, kind="refused")}) == Plan([], NOW + 0.5)
    assert verbs(decide([wanted("stopped")], seen(state="exited", cut_off_from="net"))) == []
    redis = seen(id="r", service="redis", kind="core", cut_off_from="net")
    director = seen(id="d", service="director", kind="core", cut_off_from="net")
    assert verbs(decide(None, redis, director, self_id="d")) == [("connect", "r"), ("connect", "d")]
    # What Ansible set aside still runs for a moment: with its alias `redis` it would stand beside the new one.
    aside = seen(id="r", name="redis-before", service="redis", kind="core", cut_off_from="net")
    assert verbs(decide(None, aside)) == []


def test_a_core_container_that_is_being_replaced_is_not_started_beside_the_new_one() -> None:
    """Two Redis on one volume would lose events. Only when no new one comes for long is the old one started."""
    old = seen(id="o", name="redis-before", service="redis", kind="core", state="exited", finished_at=NOW - 30)
    assert decide([], old, seen(id="n", name="redis", service="redis", kind="core")).actions == []
    created = seen(id="n", name="redis", service="redis", kind="core", state="created")
    assert decide([], old, created).actions == []
    assert decide([], old) == Plan([], NOW - 30 + 120)
    assert verbs(decide([], old, now=NOW + 91)) == [("start", "o")]


def test_busy_services_are_left_alone() -> None:
    """A service that somebody is working on gets no action, whatever it looks like."""
    assert decide([wanted()], busy=frozenset({"one"})).actions == []


def test_containers_nobody_asked_for_are_taken_in_not_removed() -> None:
    """When Redis lost its memory, running containers become what should be; those without a spec are left."""
    plan = decide([], seen(labels={LABEL_SPEC: "{}"}), seen(id="x", service="two"))
    assert verbs(plan) == [("adopt", "c1")]


def ends(*ago: float, kind: Any = "crash") -> CrashRecord:
    """Return a record of ends so many seconds before NOW."""
    return CrashRecord(ends=tuple(ExitRecord(NOW - seconds, kind, 3) for seconds in ago))


def test_ends_back_off_and_are_forgotten() -> None:
    """The first end is put right at once, further ones after 1, 2, 4 … 60 s; out of the window they do not count."""
    assert [restart_delay([NOW] * count) for count in range(1, 10)] == [0, 1, 2, 4, 8, 16, 32, LONGEST_DELAY, 60]
    records = {"one": ends(3, 1.5, 0.5)}
    assert decide([wanted()], seen(state="exited"), records=records) == Plan([], NOW + 1.5)
    assert verbs(decide([wanted()], seen(state="exited"), records=records, now=NOW + 1.6)) == [("start", "c1")]
    assert verbs(decide([wanted()], seen(state="exited"), records={"one": ends(*[301.0] * 9)})) == [("start", "c1")]


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


CRASH = CrashLoop(reason="crashed", exit_code=3, oom_killed=False, at=NOW - 10, last_lines=[])


def test_too_many_crashes_are_called_so_and_others_are_not() -> None:
    """Five crashes within 300 s are a verdict; quits, ends from outside and old crashes are none."""
    plan = decide([wanted()], seen(state="exited"), records={"one": ends(90, 60, 30, 20, 10)})
    assert verbs(plan) == [("crash", "c1")]
    assert plan.actions[0].reason == "crashed 5 times within 300 s, the last time it exited with code 3"
    for record in (ends(400, 60, 30, 20, 10), ends(*[90] * 9, kind="quit"), ends(*[90] * 9, kind="outside")):
        assert verbs(decide([wanted()], seen(state="exited"), records={"one": record})) == [("start", "c1")]


@pytest.mark.parametrize(
    ("record", "observed", "ahead", "expected"),
    [
        (CrashRecord(crash=CRASH), [seen(state="exited")], 0, []),
        (CrashRecord(crash=CRASH), [], 0, []),
        (CrashRecord(crash=CRASH), [seen(state="exited", config="other")], 0, []),
        (CrashRecord(crash=CRASH), [seen(started_at=NOW - 20)], 0, [("stop", "c1")]),
        (CrashRecord(crash=CRASH), [seen(started_at=NOW - 5)], 0, [("retry", "c1")]),
        (CrashRecord(crash=CRASH), [seen(state="exited")], 1800, [("retry", "c1")]),
        (CrashRecord(crash=CRASH, tried_at=NOW - 5), [seen(state="exited")], 0, [("start", "c1")]),
        (CrashRecord(crash=CRASH, tried_at=NOW - 5), [seen()], 0, []),
        (CrashRecord(crash=CRASH, tried_at=NOW - 5), [seen()], 60, [("recover", "c1")]),
        (CrashRecord(ends=(ExitRecord(NOW - 1),), crash=CRASH, tried_at=NOW - 5), [seen(state="exited")], 0,
         [("crash", "c1")]),
        (
            CrashRecord(crash=CRASH), [seen(state="exited"), seen(id="c2", name="one.next")], 0,
            [("remove", "c1"), ("stop", "c2")],
        ),
    ],
)  # fmt: skip
def test_a_crashed_service_lies_still(
    record: CrashRecord, observed: list[Container], ahead: float, expected: list[tuple[str, str]]
) -> None:
    """Nobody but a person or the cooldown starts it; tried again, one crash is enough, a minute makes it well."""
    assert verbs(decide([wanted()], *observed, records={"one": record}, now=NOW + ahead)) == expected


def test_without_a_cool_down_it_lies_still_for_ever() -> None:
    """With the setting 0 nothing is ever due."""
    limits = CrashLimits(cooldown=0)
    plan = decide(
        [wanted()], seen(state="exited"), records={"one": CrashRecord(crash=CRASH)}, limits=limits, now=NOW + 1e6
    )
    assert plan == Plan([], None)


@pytest.mark.parametrize(
    ("trial", "record", "more", "word"),
    [
        ({}, ends(3), {"state": "exited"}, "exited with code 3, 7 s after the switch"),
        ({}, ends(3, kind="quit"), {"state": "exited"}, "exited with code 3"),
        ({}, CrashRecord(ends=(ExitRecord(NOW - 3, "crash", 137, oom_killed=True),)), {}, "OOM-killed"),
        ({"out_of_memory": True}, CrashRecord(), {}, "OOM-killed"),
        ({}, CrashRecord(), {"restarts": 1}, "restarted by the engine"),
        ({}, CrashRecord(), {"health": "unhealthy"}, "unhealthy"),
        ({"unanswered": SILENT_ASKS}, CrashRecord(), {}, "status checks in a row"),
    ],
)
def test_a_release_on_trial_is_left_for_the_one_before(trial: Any, record: CrashRecord, more: Any, word: str) -> None:
    """Each way to misbehave within the watch is a rollback that says why."""
    trials = {"one": Trial(since=NOW - 10, until=NOW + 50, **trial)}
    plan = decide([wanted()], seen(**more), trials=trials, records={"one": record})
    assert verbs(plan) == [("roll_back", "c1")]
    assert word in plan.actions[0].reason


def test_an_unhealthy_release_is_not_blamed_for_a_redis_that_is_away() -> None:
    """The one before would be unhealthy too."""
    trials = {"one": Trial(since=NOW - 10, until=NOW + 50, redis_away=True)}
    assert decide([wanted()], seen(health="unhealthy"), trials=trials) == Plan([], NOW + 50)


def test_a_release_that_behaves_is_proven_when_its_time_is_over() -> None:
    """Ends before the switch and from outside do not count; one unanswered question neither."""
    trials = {"one": Trial(since=NOW - 10, until=NOW + 50, unanswered=SILENT_ASKS - 1)}
    records = {"one": CrashRecord(ends=(ExitRecord(NOW - 11, "crash", 3), ExitRecord(NOW - 2, "outside", 137)))}
    assert decide([wanted()], seen(), trials=trials, records=records) == Plan([], NOW + 50)
    assert verbs(decide([wanted()], seen(), trials=trials, records=records, now=NOW + 50)) == [("prove", "")]


def test_the_engine_does_not_restart_what_crashes_and_does_again_when_it_is_steady() -> None:
    """After an end by itself the director alone starts it, with backoff; out of the window the engine may again."""
    restless, quiet = seen(restart_policy="unless-stopped"), seen(restart_policy="no")
    assert verbs(decide([wanted()], restless, records={"one": ends(5)})) == [("curb", "c1")]
    assert verbs(decide([wanted()], quiet)) == [("uncurb", "c1")]
    assert decide([wanted()], restless).actions == decide([wanted()], quiet, records={"one": ends(5)}).actions == []
