"""What is remembered of a deploy that succeeds, fails before the switch, or breaks off in its middle; rollbacks."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from band.redis import RedisLink
from director.deploy.docker_rolling import DockerRolling
from director.deploy.interface import Change
from director.deploy.ledger import Ledger
from director.deploy.operations import Operations
from director.deploy.readiness import ReadyContainer
from director.deploy.rollback import Rollback
from director.deploy.spec_builder import PlatformConfig
from director.discovery.registrations import Registrations
from director.engine.interface import Container, ImageInfo
from director.errors import Conflict, DockerAway, NotFound, PortTaken, ServiceFailed, TimedOut
from director.locks import Locks
from director.state import history
from director.state.crash_log import CrashLog, CrashLoop, CrashRecord, ExitRecord
from director.state.desired import Configs, Desired, DesiredService, Spec
from director.state.history import By, Releases
from director.webhook import Webhook


def wanted(tag: str, platform: str = "before", **env: str) -> DesiredService:
    return DesiredService(spec=Spec(name="one", image=f"ns/one:{tag}", network="net", env=env, platform=platform))


class FakeDeployer(DockerRolling):
    """Brings up by saying so; an image's error is raised before the commit (`before`) or after it (`after`)."""

    def __init__(self, **parts: Any) -> None:
        fake: Any = None
        around = PlatformConfig(namespace="ns", network="net", env={}, memory="350m")
        super().__init__(engine=fake, ports=fake, readiness=fake, around=around, **parts)
        self.before: dict[str, BaseException] = {}
        self.after: dict[str, BaseException] = {}
        self.deployed: list[DesiredService] = []
        self.well: list[bool] = []

    async def _clear(self, _wanted: DesiredService) -> None:
        return None

    async def _bring_up(self, change: Change, _old: Container | None, _undo: Any) -> ReadyContainer:
        self.well.append(self.ledger.requires_health(change))
        if error := self.before.get(change.wanted.spec.image):
            raise error
        return ReadyContainer(Container(id="c1" * 32, name="one", service="one"), {"name": "one"})

    async def _switch(self, want: DesiredService, _new: Container, _old: Container | None) -> None:
        if error := self.after.get(want.spec.image):
            raise error
        self.deployed.append(want)

    async def start(self, _container: Container, _want: DesiredService) -> Container:
        raise PortTaken("port is already allocated", engine_status=500)


class FakeEngine:
    """Only its images matter here."""

    def __init__(self) -> None:
        self.there = {"ns/one:a", "ns/one:b", "ns/one:c"}

    async def image(self, reference: str) -> ImageInfo | None:
        return ImageInfo(id=reference) if reference in self.there else None


class FakeImages:
    """The folder holds what its tag says; building makes it be there."""

    def __init__(self, engine: FakeEngine) -> None:
        self.tag = "ns/one:c"
        self._engine = engine

    async def plan(self, _name: str) -> Any:
        return self

    async def has_folder(self, _name: str) -> bool:
        return True

    async def names(self) -> set[str]:
        return {"one"}

    async def ensure(self, plan: Any) -> None:
        self._engine.there.add(plan.tag)


class House:
    """The parts together, with a Redis."""

    def __init__(self, store: RedisLink) -> None:
        self.engine_away, self.looked = False, 0
        self.stopped: Container | None = None
        self.engine = FakeEngine()
        self.images = FakeImages(self.engine)
        self.desired, self.releases, self.configs = Desired(store, "ns"), Releases(store, "ns"), Configs(store, "ns")
        self.crashes, self.registrations = CrashLog(store, "ns"), Registrations()
        me: Any = self
        ledger = Ledger(
            desired=self.desired, releases=self.releases, configs=self.configs, crashes=self.crashes,
            registrations=self.registrations, webhook=Webhook(None, "ns"), watch=60.0,
        )  # fmt: skip
        self.deployer = FakeDeployer(snapshot=me, ledger=ledger)
        around: Any = SimpleNamespace(platform="today")
        parts: Any = {
            "engine": self.engine, "images": self.images, "desired": self.desired, "releases": self.releases,
            "deployer": self.deployer, "locks": Locks(), "around": around,
        }  # fmt: skip
        self.operations = Operations(
            **parts, snapshot=me, configs=self.configs, crashes=self.crashes, ledger=ledger,
            registrations=self.registrations,
        )  # fmt: skip
        self.rollback = Rollback(**parts)

    async def refresh(self) -> None:
        return

    def primary(self, _service: str) -> Container | None:
        return self.stopped

    async def try_refresh(self, _service: str) -> bool:
        self.looked += 1
        return not self.engine_away

    async def deploy(self, want: DesiredService, by: By, **more: Any) -> Container:
        return await self.deployer.deploy(Change(wanted=want, by=by, **more))

    async def lived(self, *tags: str) -> None:
        await self.desired.load()
        await self.releases.load()
        for tag in tags:
            await self.deploy(wanted(tag), "run")

    def told(self) -> list[tuple[str, str]]:
        return [(item.id, item.state) for item in self.releases.of("one")]


@pytest.fixture
def house(store: RedisLink) -> House:
    return House(store)


async def test_a_container_whose_port_was_taken_meanwhile_is_replaced_by_a_start(house: House) -> None:
    """It was stopped, somebody else took its port: who starts it gets a fresh container."""
    await house.lived()
    await house.deploy(wanted("a", platform="today"), "run")
    before = house.desired.get("one")
    assert before is not None
    house.stopped = Container(
        id="c0" * 32, name="one", service="one", state="exited", ports={8900: 8080}, config=before.spec.hash()
    )
    assert (await house.operations.start("one")).id == "c1" * 32
    assert [item.spec.image for item in house.deployer.deployed] == ["ns/one:a", "ns/one:a"]


async def test_a_deploy_begins_a_new_window_and_a_failed_one_does_not(house: House) -> None:
    """What was crashed before is forgotten with a run that succeeds, and not with one that fails."""
    await house.lived("a")
    crash = CrashLoop(reason="why", exit_code=3, oom_killed=False, at=1.0, last_lines=[])
    crashed = CrashRecord(ends=(ExitRecord(1.0),), crash=crash)
    house.crashes.put("one", crashed)
    house.deployer.before["ns/one:b"] = ServiceFailed("no", exit_code=3)
    with pytest.raises(ServiceFailed):
        await house.deploy(wanted("b"), "run")
    assert house.crashes.of("one") == crashed
    await house.deploy(wanted("c"), "run")
    assert house.crashes.of("one") == CrashRecord()
    assert house.told() == [("c", "current"), ("b", "failed"), ("a", "good")]


@pytest.mark.parametrize(
    ("error", "remembered"),
    [(ServiceFailed("no", exit_code=3), True), (TimedOut("late"), True), (DockerAway("away"), False),
     (Conflict("taken"), False)],
)  # fmt: skip
async def test_only_failures_of_the_release_are_remembered(house: House, error: Exception, remembered: bool) -> None:
    """An engine that is away and a name that is taken say nothing about a release."""
    await house.lived("a")
    house.deployer.before["ns/one:b"] = error
    with pytest.raises(type(error)):
        await house.deploy(wanted("b"), "run")
    assert (("b", "failed") in house.told()) is remembered
    assert house.desired.get("one") == wanted("a")


async def test_a_switch_that_breaks_off_is_taken_back(house: House) -> None:
    """When the engine goes away after what should be was written, that is again what was before: the answer was 502."""
    await house.lived("a")
    before = house.told()
    house.deployer.after["ns/one:b"] = DockerAway("away")
    with pytest.raises(DockerAway):
        await house.deploy(wanted("b"), "run")
    assert house.desired.get("one") == wanted("a")
    assert house.told() == before


async def test_a_first_switch_that_breaks_off_leaves_nothing_that_should_be(house: House) -> None:
    """There was nothing before: nothing is brought up later whose request was answered with an error."""
    await house.lived()
    house.deployer.after["ns/one:a"] = DockerAway("away")
    with pytest.raises(DockerAway):
        await house.deploy(wanted("a"), "run")
    assert (house.desired.get("one"), house.told()) == (None, [])


async def test_a_listing_that_fails_after_the_switch_is_no_error(house: House) -> None:
    """The new release serves and is written down: nobody is told that it failed."""
    await house.lived("a")
    house.engine_away = True
    assert (await house.deploy(wanted("b"), "run")).state == "running"
    assert house.told() == [("b", "current"), ("a", "good")]
    assert (await house.rollback.to("one", "a"))[1].id == "a"


async def test_the_containers_are_listed_again_after_a_failure(house: House) -> None:
    """What was given up must not be shown as running any more when the error is answered."""
    await house.lived()
    house.deployer.before["ns/one:a"] = ServiceFailed("no", exit_code=3)
    with pytest.raises(ServiceFailed):
        await house.deploy(wanted("a"), "run")
    assert house.looked == 1


async def test_a_switch_that_is_cancelled_leaves_what_was_before(house: House) -> None:
    """Somebody stops the service, or the director, at that moment: nothing is to run that never served."""
    await house.lived("a")
    before = house.told()
    house.deployer.after["ns/one:b"] = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await house.deploy(wanted("b"), "run")
    assert (house.desired.get("one"), house.told()) == (wanted("a"), before)


async def test_a_config_goes_back_with_the_switch_that_it_was_for(house: House) -> None:
    """What was to be remembered with the release is not, when the switch breaks off; before it nothing was written."""
    await house.lived("a")
    await house.configs.put("one", {"pos": "1x1"})
    house.deployer.after["ns/one:b"] = DockerAway("away")
    with pytest.raises(DockerAway):
        await house.deploy(wanted("b"), "run", config={"pos": "2x2"})
    assert await house.configs.get("one") == {"pos": "1x1"}
    house.deployer.before["ns/one:c"] = ServiceFailed("no")
    with pytest.raises(ServiceFailed):
        await house.deploy(wanted("c"), "run", config={"pos": "3x3"})
    assert await house.configs.get("one") == {"pos": "1x1"}
    await house.deploy(wanted("a"), "run", config={"pos": "4x4"})
    assert await house.configs.get("one") == {"pos": "4x4"}


@pytest.mark.parametrize(("says", "well"), [("ok", True), ("degraded", True), ("failing", False), (None, False)])
async def test_a_run_has_to_be_as_well_as_what_it_replaces(house: House, says: str | None, well: bool) -> None:
    """A release must not be failing where the one before is not; a rollback is taken as it is."""
    await house.lived("a", "b")
    house.registrations.note("one", {"health": {"status": says}} if says else {}, 1.0)
    await house.deploy(wanted("c"), "run")
    assert house.deployer.well[-1] is well
    house.registrations.note("one", {"health": {"status": says}} if says else {}, 1.0)
    await house.rollback.to("one", "a")
    assert house.deployer.well[-1] is False


async def test_a_revival_does_not_make_crashes_forgotten(house: House) -> None:
    """A deploy that nobody asked for leaves the window as it is."""
    await house.lived("a")
    house.crashes.note("one", ExitRecord(1.0))
    await house.operations.bring_back(wanted("a"), "revive")
    assert house.crashes.of("one").ends == (ExitRecord(1.0),)


async def test_an_image_that_somebody_removed_is_made_from_the_folder(house: House) -> None:
    """What the folder holds now becomes what should be, and a release by the reconciler."""
    await house.lived("a")
    house.engine.there.discard("ns/one:a")
    await house.operations.bring_back(wanted("a"), "revive")
    assert house.deployer.deployed[-1].spec.image == "ns/one:c"
    assert house.told() == [("c", "current"), ("a", "good")]


async def test_a_rollback_takes_the_spec_of_then_and_the_platform_of_now(house: House) -> None:
    """Env and image are those of the release; what every service is given is what it is today."""
    await house.lived()
    await house.deploy(wanted("a", TZ="then"), "run")
    await house.deploy(wanted("b", TZ="now"), "run")
    _, release = await house.rollback.to("one", None)
    deployed = house.deployer.deployed[-1].spec
    assert (release.id, deployed.image, deployed.env, deployed.platform) == ("a", "ns/one:a", {"TZ": "then"}, "today")
    assert house.desired.get("one") == house.deployer.deployed[-1]


async def test_a_rollback_needs_something_to_go_back_to(house: House) -> None:
    """404 for what there is not, 409 for what cannot be, each with what to do."""
    with pytest.raises(Conflict):
        await house.rollback.to("one", None)
    await house.lived()
    with pytest.raises(NotFound):
        await house.rollback.to("one", None)
    await house.lived("a")
    for to, kind in ((None, Conflict), ("a", Conflict), ("zzz", NotFound)):
        with pytest.raises(kind) as caught:
            await house.rollback.to("one", to)
        assert caught.value.hint


async def test_a_rollback_makes_an_image_that_is_gone_where_it_can(house: House) -> None:
    """The folder holds the same contents again: it is built. Others: a conflict that names what there is."""
    await house.lived("a", "b")
    house.engine.there.discard("ns/one:a")
    with pytest.raises(Conflict, match="the folder's contents have changed"):
        await house.rollback.to("one", "a")
    house.images.tag = "ns/one:a"
    await house.rollback.to("one", "a")
    assert house.told() == [("b", "rolled_back"), ("a", "current")]


async def test_going_back_by_itself_tries_one_after_another(house: House) -> None:
    """When the one before does not come up either, it goes one further; with none left the watch is given up."""
    await house.lived("a", "b", "c")
    house.deployer.before["ns/one:b"] = ServiceFailed("no", exit_code=3)
    target = await house.rollback.away("one", "it crashed")
    assert target is not None
    assert target.id == "a"
    assert house.told() == [("c", "rolled_back"), ("b", "good"), ("a", "current")]
    assert house.releases.of("one")[0].reason == "it crashed"
    await house.deploy(wanted("c"), "run")
    house.deployer.before = {f"ns/one:{tag}": ServiceFailed("no") for tag in "ab"}
    assert await house.rollback.away("one", "it crashed") is None
    serving = history.current(house.releases.of("one"))
    assert serving is not None
    assert (serving.id, serving.watch_until) == ("c", 0.0)


async def test_going_back_waits_for_an_engine_that_is_away(house: House) -> None:
    """That is no failure of the release before: it is tried again, and the watch stays."""
    await house.lived("a", "b")
    house.deployer.before["ns/one:a"] = DockerAway("away")
    with pytest.raises(DockerAway):
        await house.rollback.away("one", "it crashed")
    assert house.told() == [("b", "current"), ("a", "good")]
    assert house.releases.of("one")[0].watch_until > 0


async def test_a_service_may_have_a_watch_of_its_own(house: House) -> None:
    """`watch` of band.yml goes before the setting; 0 switches it off."""
    await house.lived("a")
    await house.deploy(msgspec.structs.replace(wanted("b"), watch=0.0), "run")
    assert house.releases.of("one")[0].watch_until == 0
    await house.deploy(msgspec.structs.replace(wanted("c"), watch=500.0), "run")
    release = house.releases.of("one")[0]
    assert release.watch_until - release.since == 500.0
