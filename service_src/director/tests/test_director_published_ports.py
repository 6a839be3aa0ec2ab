"""Published ports that go dead: seen from the host's side, told, and put right once by a restart."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Collection
from typing import Any

import msgspec
import pytest

from director.discovery.health import Signs, judge
from director.engine.host import ADDRESS, closed_here, port_check_config
from director.engine.interface import Container
from director.errors import Conflict, DockerAway
from director.supervise.published_ports import SOON_SECONDS, TRIES, PublishedPorts


class House:
    """An engine whose containers are healthy, a clock, and the ports that are closed."""

    def __init__(self, every: float = 60.0) -> None:
        self.containers = [container("front", 10001), container("mmgeo", 8900)]
        self.closed: set[int] = set()
        self.away = self.refuses = False
        self.now = 1000.0
        self.tried: list[set[int]] = []
        self.restarted: list[str] = []
        fake: Any = self
        self.ports = PublishedPorts(fake, fake, fake, every=every, clock=lambda: self.now)

    async def closed_ports(self, ports: Collection[int]) -> set[int]:
        self.tried.append(set(ports))
        if self.away:
            raise DockerAway("no engine")
        return self.closed & set(ports)

    async def inspect(self, container: str) -> Container | None:
        return next((item for item in self.containers if item.id == container), None)

    async def replace(self, service: str) -> None:
        self.restarted.append(service)
        if self.refuses:
            raise Conflict("not now")
        self.containers = [item for item in self.containers if item.service != service]
        self.containers.append(container(service, 10001 if service == "front" else 8900, id=f"{service}-again"))
        self.closed = set()

    async def turns(self, count: int) -> None:
        for _ in range(count):
            await self.ports.once()
            self.now += SOON_SECONDS


def container(service: str, port: int, **more: Any) -> Container:
    given = {"id": service, "name": service, "service": service, "health": "healthy", "ports": {port: 8080}}
    return Container(**{**given, **more})


async def test_a_port_that_went_dead_is_told_and_its_service_restarted() -> None:
    """After three failed tries, five seconds apart; the others are left alone, and the new container is well."""
    house = House()
    await house.turns(1)
    house.closed = {10001}
    house.now += 60
    await house.turns(TRIES - 1)
    assert (house.ports.dead("front"), house.restarted) == ((), [])
    await house.turns(1)
    assert (house.restarted, dict(house.ports.restarts)) == (["front"], {"front": 1})
    await house.turns(2)
    assert (house.ports.dead("front-again"), house.restarted) == ((), ["front"])


async def test_a_port_that_never_accepted_is_told_and_nothing_is_restarted() -> None:
    """Its health check may say nothing of the port: another container would do no better, and go the same way."""
    house = House()
    house.closed = {8900}
    await house.turns(TRIES + 30)
    assert (house.ports.dead("mmgeo"), house.ports.dead("front"), house.restarted) == ((8900,), (), [])
    house.closed = set()
    await house.turns(12)
    assert house.ports.dead("mmgeo") == ()


async def test_a_restart_that_fails_is_tried_again() -> None:
    """It stays dead, and is told, until it worked."""
    house = House()
    await house.turns(1)
    house.closed, house.refuses = {10001}, True
    house.now += 60
    await house.turns(TRIES)
    assert (house.restarted, house.ports.dead("front")) == (["front"], (10001,))
    house.refuses = False
    house.now += 60
    await house.turns(1)
    assert house.restarted == ["front", "front"]


async def test_ports_are_tried_once_a_minute_and_those_of_new_containers_soon() -> None:
    """Trying takes a container where the director runs in one: it is done no more often than it has to be."""
    house = House()
    await house.turns(12)
    assert len(house.tried) == 1
    house.containers.append(container("new", 8901))
    await house.turns(2)
    assert (len(house.tried), house.tried[-1]) == (2, {10001, 8900, 8901})


@pytest.mark.parametrize("more", [{"health": "starting"}, {"health": ""}, {"state": "paused"}, {"kind": "core"}])
async def test_only_what_is_healthy_is_tried(more: dict[str, Any]) -> None:
    """What has no health check, or does not pass it, has a reason of its own."""
    house = House()
    house.containers = [container("one", 8900, **more)]
    await house.turns(3)
    assert house.tried == []


async def test_a_container_that_ended_meanwhile_has_no_dead_port() -> None:
    """It was replaced between the list and the try."""
    house = House()
    await house.turns(1)
    house.closed = {10001}
    stale = list(house.containers)
    house.ports._containers = lambda: stale
    house.containers[0] = msgspec.structs.replace(house.containers[0], state="exited")
    house.now += 60
    await house.turns(TRIES + 2)
    assert (house.ports.dead("front"), house.restarted) == ((), [])


async def test_an_engine_that_is_away_makes_no_port_dead() -> None:
    """Nothing is known then; the loop goes on."""
    house = House()
    house.away = True
    await house.turns(5)
    house.away = False
    await house.turns(1)
    assert (house.ports.dead("front"), house.restarted) == ((), [])


async def test_without_an_interval_nothing_is_tried() -> None:
    """`BAND_PORT_CHECK=0`."""
    await asyncio.wait_for(House(every=0).ports.run(), 1)


def test_the_word_of_a_service_with_a_dead_port() -> None:
    """Failing, with the address and what to do; what it says itself comes first."""
    signs = {"name": "front", "state": "running", "docker_health": "healthy", "dead_ports": (10001,)}
    found = judge(Signs(**signs, status={"health": {"status": "ok"}}))
    assert found.word == "failing"
    assert "127.0.0.1:10001" in found.reason
    assert "GET /restart/front" in found.reason
    own = {"health": {"status": "failing", "checks": {"disk": {"status": "failing", "reason": "full"}}}}
    assert judge(Signs(**signs, status=own)).reason == "disk: full"


def test_a_connection_tells_whether_a_port_accepts() -> None:
    """By this process, and by the program that runs in a container: both see the same."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens
        ports = {server.getsockname()[1], unused.getsockname()[1]}
        closed = {unused.getsockname()[1]}
        assert asyncio.run(closed_here(ports)) == closed
        command = [sys.executable, *port_check_config("image", {}, ports)["Entrypoint"][1:], *map(str, ports)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        assert {int(word) for word in done.stdout.split()} == closed


def test_the_container_that_tries_can_do_nothing_else() -> None:
    """It is in the host's network, so it gets nothing beside."""
    config = port_check_config("sha256:1", {"band.kind": "port-check"}, {10001, 8900})
    host = config["HostConfig"]
    assert config["Cmd"] == ["8900", "10001"]
    assert config["User"] == "10001:10001"
    assert (host["CapDrop"], host["ReadonlyRootfs"], host["SecurityOpt"]) == (["ALL"], True, ["no-new-privileges"])
    assert not {"Binds", "Mounts", "Privileged", "CapAdd", "PidMode", "PortBindings"} & set(host)
    assert ADDRESS == "127.0.0.1"
