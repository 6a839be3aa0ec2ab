"""Services that were given an old password are replaced: at once where they are silent, one by one where they speak."""

from __future__ import annotations

import time
from typing import Any

import pytest

from director.engine.interface import Container
from director.errors import TimedOut
from director.state.crash_log import NO_RECORD, CrashRecord, ExitRecord
from director.state.desired import DesiredService, Spec
from director.supervise.reconcile import World, reconcile
from director.supervise.renewals import Renewals


def wanted(name: str, platform: str = "old", **more: Any) -> DesiredService:
    spec = {key: more.pop(key) for key in ("auto_remove",) if key in more}
    return DesiredService(spec=Spec(name=name, image=f"ns/{name}:1", network="net", platform=platform, **spec), **more)


def services(*found: DesiredService) -> dict[str, DesiredService]:
    return {item.spec.name: item for item in found}


class Host:
    """Renewals over services of which some are silent."""

    def __init__(self, *silent: str, patience: float = 600.0) -> None:
        self.renewed: list[str] = []
        self.broken = False
        self.connected = True
        self._silent = silent
        me: Any = self
        self.renewals = Renewals(me, me, me, me, "new", patience)

    def primary(self, service: str) -> Container:
        return Container(id=service, name=service, service=service)

    def silent_for(self, service: str, _started: float, _now: float) -> float:
        return 100.0 if service in self._silent else 2.0

    async def bring_back(self, item: DesiredService, _by: str) -> None:
        self.renewed.append(item.spec.name)
        if self.broken:
            raise TimedOut("it did not answer", "look at its log")

    def now(self, *found: DesiredService, busy: tuple[str, ...] = ()) -> list[str]:
        """Return the services that are to be replaced now."""
        due = self.renewals.due(services(*found), busy)
        return [name for name, at in due.items() if at <= time.time()]


def test_a_silent_service_is_replaced_at_once_and_a_speaking_one_later() -> None:
    """Locked out, it has nothing to lose; others go on for ten minutes, should nobody replace them before."""
    host = Host("mute", "dumb")
    assert host.now(wanted("mute"), wanted("dumb"), wanted("talker"), wanted("fresh", "new")) == ["dumb", "mute"]
    later = host.renewals.due(services(wanted("talker")), ())["talker"]
    assert 590 < later - time.time() <= 600


def test_speaking_services_are_replaced_one_after_the_other() -> None:
    """The next one when the one before is done."""
    host = Host(patience=0.0)
    assert host.now(wanted("one"), wanted("two")) == ["one"]
    assert host.now(wanted("one"), wanted("two"), busy=("one",)) == []
    assert host.now(wanted("one", "new"), wanted("two")) == ["two"]


def test_what_does_not_run_or_ends_by_itself_is_left_alone() -> None:
    """It gets what is given today when somebody starts it."""
    host = Host("stopped", "job", "unknown", patience=0.0)
    found = (wanted("stopped", state="stopped"), wanted("job", auto_remove=True), wanted("unknown", platform=""))
    assert host.now(*found) == []


async def test_a_failed_replacement_is_tried_again_later_and_later() -> None:
    """What served goes on meanwhile; the others do not wait for it."""
    host = Host(patience=0.0)
    host.broken = True
    pauses = []
    for _ in range(3):
        await host.renewals.renew(wanted("one"))
        pauses.append(host.renewals.due(services(wanted("one")), ())["one"] - time.time())
    assert [round(pause) for pause in pauses] == [30, 60, 120]
    assert host.now(wanted("one"), wanted("two")) == ["two"]
    host.broken = False
    await host.renewals.renew(wanted("one"))
    assert host.now(wanted("one")) == ["one"]


def plan(item: DesiredService, seen: Container, at: float, record: CrashRecord = NO_RECORD) -> list[tuple[str, str]]:
    name = item.spec.name
    world = World(
        desired={name: item}, observed=[seen], now=1000.0, renewals={name: at}, records={name: record}
    )  # fmt: skip
    return [(action.verb, action.container) for action in reconcile(world).actions]


@pytest.mark.parametrize(
    ("state", "at", "verbs"),
    [
        ("running", 999.0, [("renew", "c1")]), ("running", 1001.0, []),
        # Started once more as it is, it could not sign in.
        ("exited", 1001.0, [("deploy", "")]),
    ],
)  # fmt: skip
def test_the_reconciler_replaces_it_when_it_is_due(state: str, at: float, verbs: list[tuple[str, str]]) -> None:
    """A container that ended is not started as it was, but made anew."""
    item = wanted("one")
    policy = "unless-stopped"
    seen = Container(id="c1", name="one", service="one", config=item.spec.hash(), state=state, restart_policy=policy)
    assert plan(item, seen, at) == verbs


def test_a_service_that_crashes_is_not_replaced_for_that() -> None:
    """First its crashes: it is in its backoff, and that is what its reader has to see."""
    item = wanted("one")
    seen = Container(id="c1", name="one", service="one", config=item.spec.hash(), state="running", restart_policy="no")
    assert plan(item, seen, 999.0, CrashRecord(ends=(ExitRecord(at=990.0, kind="crash", exit_code=1),))) == []
