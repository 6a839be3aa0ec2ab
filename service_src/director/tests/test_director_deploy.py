"""The order in which containers come and go, over an engine in memory: what serves is never given up too early."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from director.deploy.containers import PortPool
from director.deploy.docker_rolling import DockerRolling
from director.deploy.interface import Change
from director.deploy.readiness import Readiness, ReadyContainer
from director.deploy.spec_builder import PlatformConfig
from director.engine.interface import LABEL_CONFIG, LABEL_SERVICE, Container
from director.engine.snapshot import Snapshot
from director.errors import Conflict, DockerAway, DockerRefused, InvalidValue, PortTaken, ServiceFailed
from director.redact import is_secret
from director.state.crash_log import CrashLog
from director.state.desired import DesiredService, Spec

AROUND = PlatformConfig(namespace="rockstat", network="net", env={}, memory="350m", ready_timeout=0.5)
FAILING = {"health": {"status": "failing", "checks": {"db": {"status": "failing", "reason": "no rows"}}}}


class Engine:
    """Containers by id; a verb in `broken` fails, `story` tells what was done in its order."""

    def __init__(self) -> None:
        self.there: dict[str, Container] = {}
        self.broken: set[str] = set()
        self.story: list[str] = []
        self.taken, self.holder = False, ""
        self.env: list[str] = []
        self._ids = itertools.count(1)

    def add(self, name: str, config: str, **more: Any) -> Container:
        found = Container(
            id=f"c{next(self._ids)}", name=name, service="one", config=config, created_at=float(len(self.there)), **more
        )
        self.there[found.id] = found
        return found

    def names(self) -> dict[str, str]:
        return {item.name: item.id for item in self.there.values()}

    def _do(self, verb: str, container: str) -> None:
        self.story.append(f"{verb} {container}")
        if verb in self.broken:
            raise DockerAway(f"no {verb} now")

    async def ensure_network(self, name: str) -> None:
        return

    async def used_ports(self) -> set[int]:
        return {port for item in self.there.values() for port in item.ports}

    async def port_holder(self, port: int) -> str:
        return self.holder

    async def containers(self, known: Any = ()) -> list[Container]:
        return list(self.there.values())

    async def inspect(self, container: str) -> Container | None:
        return self.there.get(container) or self.there.get(self.names().get(container, ""))

    async def create(self, name: str, config: Mapping[str, Any]) -> str:
        labels, bindings = config["Labels"], config["HostConfig"]["PortBindings"]
        self.env = config["Env"]
        ports = {int(item["HostPort"]): 8080 for group in bindings.values() for item in group}
        made = self.add(name, labels[LABEL_CONFIG], state="created", ports=ports, labels=labels)
        assert labels[LABEL_SERVICE] == "one"
        return made.id

    async def start(self, container: str) -> None:
        self._do("start", container)
        if container not in self.there:
            raise DockerRefused("no such container", engine_status=404)
        if self.taken:
            raise PortTaken("port is already allocated", engine_status=500)
        self.there[container] = msgspec.structs.replace(self.there[container], state="running")

    async def stop(self, container: str, timeout: float) -> None:
        self._do("stop", container)
        if container in self.there:
            self.there[container] = msgspec.structs.replace(self.there[container], state="exited")

    async def remove(self, container: str) -> None:
        self._do("remove", container)
        self.there.pop(container, None)

    async def rename(self, container: str, name: str) -> None:
        self._do("rename", container)
        self.there[container] = msgspec.structs.replace(self.there[container], name=name)

    async def set_restart_policy(self, container: str, *, on: bool) -> None:
        return

    async def logs(self, container: str, tail: int) -> list[str]:
        return ["x" * 1_000_000]


class Prober:
    """Answers as the newest container would."""

    def __init__(self, **more: Any) -> None:
        self.status: dict[str, Any] = {"app_started": 9e15, **more}

    async def ask(
        self, _service: str, *, timeout: float, interval: float, accept: Callable[[Any], bool], hide: Any
    ) -> Any:
        return self.status if accept(self.status) else None


def wanted(tag: str, **more: Any) -> DesiredService:
    return DesiredService(spec=Spec(name="one", image=f"ns/one:{tag}", network="net", **more))


class Books:
    """Writes nothing down; `write` is called for it."""

    def __init__(self, write: Callable[[], Any], healthy: bool) -> None:
        self._write, self._healthy = write, healthy
        self.crashes = CrashLog(None, "ns")  # type: ignore[arg-type]

    def requires_health(self, _change: Change) -> bool:
        return self._healthy

    async def commit(self, _change: Change, _undo: Any) -> None:
        await self._write()

    async def failed(self, *_facts: Any) -> None:
        return

    def ready(self, started: ReadyContainer, _before: Any) -> None:
        self.started = started


class Deployer:
    """The whole way of a deploy over an engine in memory."""

    def __init__(self, engine: Engine, prober: Prober | None = None, around: PlatformConfig = AROUND) -> None:
        fake, asked, nothing = (engine, prober or Prober(), None)  # type: Any, Any, Any
        snapshot = Snapshot(fake, "rockstat")
        self._found = DockerRolling(
            engine=fake, snapshot=snapshot, ports=PortPool(8900, 8909, bindable=lambda _: True), around=around,
            readiness=Readiness(fake, snapshot, asked, around), ledger=nothing,
        )  # fmt: skip

    @property
    def starting(self) -> set[str]:
        return self._found.starting

    async def deploy(self, want: DesiredService, write: Callable[[], Any], *, well: bool = False) -> ReadyContainer:
        books: Any = Books(write, well)
        self._found.ledger = books
        seen = await self._found.deploy(Change(wanted=want, by="run"))
        return ReadyContainer(seen, books.started.status)

    async def settle(self, service: str) -> None:
        await self._found.settle(service)


def deployer(engine: Engine, prober: Prober | None = None) -> Deployer:
    return Deployer(engine, prober)


async def commit() -> None:
    return


async def test_half_a_deploy_is_not_taken_for_what_serves() -> None:
    """A director that died left a container of the new contents: it goes, and the one with the name goes on."""
    engine, new = Engine(), wanted("b")
    serving = engine.add("one", wanted("a").spec.hash())
    half = engine.add("one.next", new.spec.hash())
    engine.broken = {"start"}
    with pytest.raises(DockerAway):
        await deployer(engine).deploy(new, commit)
    assert engine.there == {serving.id: serving}
    assert engine.story[:2] == [f"stop {half.id}", f"remove {half.id}"]


async def test_a_switch_of_which_one_name_was_given_goes_on_with_the_newer() -> None:
    """Between the two renames neither has the name: the newer one had answered, and was written down."""
    engine, new = Engine(), wanted("b")
    old = engine.add("one.old-c1", wanted("a").spec.hash())
    newer = engine.add("one.next", new.spec.hash())
    engine.broken = {"start"}
    with pytest.raises(DockerAway):
        await deployer(engine).deploy(new, commit)
    assert engine.story[:2] == [f"stop {old.id}", f"remove {old.id}"]
    assert engine.there == {newer.id: newer}


async def test_once_the_new_one_has_the_name_nothing_takes_it_away() -> None:
    """The engine fails when the old one is to go: the new one serves, and the reconciler removes the rest later."""
    engine = Engine()
    old = engine.add("one", wanted("a").spec.hash())
    work = deployer(engine)
    engine.broken = {"stop", "remove"}
    started = await work.deploy(wanted("b"), commit)
    await work.settle("one")
    assert (started.container.name, engine.names()["one"]) == ("one", started.container.id)
    assert engine.there[started.container.id].state == "running"
    assert old.id in engine.there


async def test_a_fixed_port_is_not_given_back_once_it_is_written_down() -> None:
    """The engine fails after the new one answered on the port: it keeps it, and the answer is no error."""
    engine, new = Engine(), wanted("a", ports={"10001": 8080})
    old = engine.add("one", new.spec.hash(), ports={10001: 8080})
    written: list[str] = []

    async def write_down() -> None:
        written.append("now")
        engine.broken = {"remove", "rename"}

    started = await deployer(engine).deploy(new, write_down)
    assert written == ["now"]
    assert (engine.there[started.container.id].state, engine.there[old.id].state) == ("running", "exited")


@pytest.mark.parametrize("name", ["redis", "director"])
async def test_a_forged_service_does_not_take_the_place_of_the_platform_itself(name: str) -> None:
    """Whatever stands in Redis: neither Redis nor the director is removed for the sake of a service of that name."""
    engine = Engine()
    core = engine.add(name, "", kind="core")
    with pytest.raises(InvalidValue, match="reserved for the platform"):
        await deployer(engine).deploy(DesiredService(spec=Spec(name=name, image="i", network="net")), commit)
    assert engine.there == {core.id: core}


async def test_a_release_that_says_it_is_failing_does_not_replace_one_that_does_not() -> None:
    """It answers, and says why it is not well: the old one goes on. Where nothing served, it is taken as it is."""
    engine = Engine()
    serving = engine.add("one", wanted("a").spec.hash())
    work = deployer(engine, Prober(**FAILING))
    with pytest.raises(ServiceFailed, match="reports that it is failing: db: no rows") as caught:
        await work.deploy(wanted("b"), commit, well=True)
    assert engine.there == {serving.id: serving}
    assert len(caught.value.facts["log"][0]) < 10_000
    assert (await work.deploy(wanted("b"), commit)).status["health"] == FAILING["health"]
    await work.settle("one")
    alone = Engine()
    assert (await deployer(alone, Prober(**FAILING)).deploy(wanted("b"), commit, well=True)).container.name == "one"


@pytest.mark.parametrize(
    ("holder", "told"), [("service front", "port 10001 is in use by service front"), ("", "no container")]
)
async def test_a_taken_port_is_told_with_who_has_it(holder: str, told: str) -> None:
    """A fixed port that somebody has is a conflict that names the holder, and nothing is left behind."""
    engine = Engine()
    engine.taken, engine.holder = True, holder
    with pytest.raises(Conflict, match="host port of one is taken") as caught:
        await deployer(engine).deploy(wanted("a", ports={"10001": 8080}), commit)
    assert told in caught.value.hint
    assert engine.there == {}


async def test_a_failed_search_for_a_port_leaves_nothing_to_remember() -> None:
    """Each container whose port was taken is gone, and its end would be nobody's start any more."""
    engine = Engine()
    engine.taken = True
    work = deployer(engine)
    with pytest.raises(Conflict, match="no port of the pool"):
        await work.deploy(wanted("a"), commit)
    assert (work.starting, engine.there) == (set(), {})


async def test_the_reason_of_a_failure_stays_when_the_old_one_cannot_be_started_again() -> None:
    """A fixed port, and the container before was removed with its end: the user reads why the new one failed."""
    engine, new = Engine(), wanted("a", ports={"10001": 8080})
    old = engine.add("one", new.spec.hash(), ports={10001: 8080}, auto_remove=True)

    async def refuse() -> None:
        engine.there.pop(old.id)
        raise ServiceFailed("the new one is broken", "look at its log")

    with pytest.raises(ServiceFailed, match="the new one is broken") as caught:
        await deployer(engine).deploy(new, refuse)
    assert caught.value.hint == "look at its log; the previous container could not be started again: no such container"
    assert engine.there == {}


async def test_a_service_is_let_into_redis_before_its_container_is_made() -> None:
    """Its user is there when it starts, and its environment has that user's address."""
    engine, made = Engine(), list[str]()

    class Users:
        def dsn(self, service: str) -> str:
            return f"redis://{service}.0a1b2c3d:secret@redis"

        def grants(self, service: str) -> str:
            return f"ns:director:grants:{service}"

        async def make(self, service: str, keys: Any) -> None:
            made.append(f"{service} {keys} before {len(engine.there)} containers")

    users: Any = Users()
    around = msgspec.structs.replace(AROUND, users=users)
    await Deployer(engine, around=around).deploy(wanted("1", redis_keys=("x",)), commit)
    assert made == ["one ('x',) before 0 containers"]
    assert "REDIS_DSN=redis://one.0a1b2c3d:secret@redis" in engine.env


@pytest.mark.parametrize(("secrets", "told"), [((), []), (("SETTING", "CODE"), ["BAND_MASKED=SETTING,CODE"])])
async def test_a_container_learns_which_of_its_variables_are_secret(secrets: tuple[str, ...], told: list[str]) -> None:
    """Names only, those that `secrets:` of band.yml declares: it masks their values in what it says itself."""
    engine = Engine()
    await deployer(engine).deploy(wanted("a", secrets=secrets), commit)
    assert [line for line in engine.env if line.startswith("BAND_MASKED")] == told
    assert not is_secret("BAND_MASKED"), "or the names would be masked as secrets themselves"
