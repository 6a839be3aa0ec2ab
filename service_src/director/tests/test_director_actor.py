"""What the supervisor's actions do when the engine does not play along."""

from __future__ import annotations

from typing import Any

import pytest

from director.engine.interface import Container
from director.errors import DirectorError, DockerAway, DockerRefused, PortTaken
from director.state.desired import DesiredService, Spec
from director.supervise.reconcile import Action
from director.supervise.supervisor import Supervisor

WANTED = DesiredService(spec=Spec(name="one", image="ns/one:a", network="net"))


class Engine:
    """Starts nothing, for the reason it was given."""

    def __init__(self, error: DirectorError) -> None:
        self._error = error

    async def start(self, _container: str) -> None:
        raise self._error


class Desired:
    """One service is wanted."""

    def get(self, service: str) -> DesiredService | None:
        return WANTED if service == "one" else None


class Operations:
    """Notes what it is to bring back."""

    def __init__(self, redeployed: list[str]) -> None:
        self._redeployed = redeployed

    async def bring_back(self, wanted: DesiredService, _by: str) -> None:
        self._redeployed.append(wanted.spec.name)


def actor(error: DirectorError, redeployed: list[str]) -> Supervisor:
    parts: Any = {"engine": Engine(error), "desired": Desired(), "operations": Operations(redeployed)}
    names = ("snapshot", "releases", "crashes", "deployer", "rollback", "watch", "renewals", "incidents", "announcer")
    unused: Any = dict.fromkeys((*names, "locks"))
    return Supervisor(**parts, **unused, namespace="ns")


@pytest.mark.parametrize(
    "error",
    [PortTaken("port is already allocated", engine_status=500), DockerRefused("no such network", engine_status=404)],
)
async def test_a_container_whose_port_or_network_is_gone_is_replaced(error: DirectorError) -> None:
    """It would be refused for ever: a fresh one gets another port."""
    redeployed: list[str] = []
    seen = Container(id="c1", name="one", service="one", state="exited")
    await actor(error, redeployed).do(Action("start", "one", "c1"), seen)
    assert redeployed == ["one"]


async def test_an_engine_that_is_away_is_no_reason_to_replace_a_container() -> None:
    """The same start may succeed later."""
    redeployed: list[str] = []
    seen = Container(id="c1", name="one", service="one", state="exited")
    with pytest.raises(DockerAway):
        await actor(DockerAway("no socket"), redeployed).do(Action("start", "one", "c1"), seen)
    assert redeployed == []


async def test_a_part_of_the_platform_is_never_replaced_by_a_service() -> None:
    """Redis whose port is taken stays what Ansible made."""
    redeployed: list[str] = []
    seen = Container(id="c1", name="redis", service="redis", state="exited", kind="core")
    with pytest.raises(PortTaken):
        await actor(PortTaken("taken", engine_status=500), redeployed).do(Action("start", "redis", "c1"), seen)
    assert redeployed == []
