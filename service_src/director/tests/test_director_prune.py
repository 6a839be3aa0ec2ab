"""What is thrown away, and above all what is not."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from band.redis import RedisLink
from director.api.handlers.releases import waste
from director.engine.interface import LABEL_KIND, LABEL_SERVICE, ImageInfo
from director.errors import Conflict, DockerRefused
from director.images.prune import Pruned, Pruner, PruneSettings, UnusedImage, World, unused
from director.locks import Locks
from director.state import history
from director.state.desired import Desired, DesiredService, Spec
from director.state.history import Releases


def image(tag: str, service: str = "one", **more: Any) -> ImageInfo:
    labels = {LABEL_KIND: "service", LABEL_SERVICE: service, **more.pop("labels", {})}
    given_tags = more.pop("tags", [f"ns/{service}:{tag}"])
    return ImageInfo(**{"id": f"sha256:{tag}", "tags": given_tags, "labels": labels, "size": 100, "shared": 60, **more})


def found(*images: ImageInfo, **more: Any) -> list[UnusedImage]:
    return unused(World(images=images, **{"namespace": "ns", "used": (), "kept": (), **more}))


def refs(of: list[UnusedImage]) -> list[str]:
    return [item.references[0] for item in of]


def test_an_image_that_nobody_needs_may_go() -> None:
    """It is told with what the disk gains: what it shares with no other."""
    told = waste(found(image("a")), applied=False)
    assert [item.image for item in told.images] == ["ns/one:a"]
    assert (told.bytes, told.failed) == (40, msgspec.UNSET)


@pytest.mark.parametrize(
    ("kept", "more"),
    [
        (image("a"), {"used": {"sha256:a"}}),
        (image("a"), {"kept": {"ns/one:a"}}),
        (image("a"), {"busy": {"one"}}),
        (image("a", created=50.0), {"older_than": 50.0}),
        (image("a", tags=["ns/one:a", "mine/one:keep"]), {}),
        (image("a", tags=["other/one:a"]), {}),
        (image("a", labels={LABEL_KIND: "core"}), {}),
        (image("a", labels={LABEL_KIND: "base"}), {}),
        (image("a", service=""), {}),
    ],
)
def test_an_image_that_somebody_needs_stays(kept: ImageInfo, more: Any) -> None:
    """In use, of a kept release, of a busy service, too young, tagged by somebody else, or of the platform itself."""
    assert refs(found(kept, **more)) == []


def test_of_what_original_services_stand_on_the_newest_stays() -> None:
    """Without a network it could not be built again; those of earlier versions go."""
    below = [
        image(tag, service="base_original", labels={LABEL_KIND: "base"}, created=created)
        for tag, created in (("new", 3.0), ("old", 1.0), ("older", 0.5))
    ]
    assert refs(found(*below)) == ["ns/base_original:older", "ns/base_original:old"]
    assert refs(found(*below, used={"sha256:old"})) == ["ns/base_original:older"]


def test_an_image_without_a_tag_goes_by_its_id() -> None:
    """A build with nocache leaves the one before without a name."""
    assert refs(found(image("a", tags=[]))) == ["sha256:a"]


@given(st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
def test_what_is_used_or_kept_never_goes(there: set[str], used: set[str], kept: set[str]) -> None:
    """Whatever is there, exactly what is neither used nor kept may go."""
    told = found(
        *(image(tag) for tag in there),
        used={f"sha256:{tag}" for tag in used},
        kept={f"ns/one:{tag}" for tag in kept},
    )
    assert set(refs(told)) == {f"ns/one:{tag}" for tag in there - used - kept}


class Engine:
    """The part of an engine that pruning needs."""

    def __init__(self, *images: ImageInfo) -> None:
        self.there = {item.id: item for item in images}
        self.used: set[str] = set()
        self.refuses = ""
        self.listed: list[bool] = []

    async def images(self, *, sizes: bool = False) -> list[ImageInfo]:
        self.listed.append(sizes)
        return list(self.there.values())

    async def used_images(self) -> frozenset[str]:
        return frozenset(self.used)

    async def remove_image(self, reference: str) -> None:
        if reference == self.refuses:
            raise DockerRefused("image is being used", engine_status=409)
        self.there = {key: item for key, item in self.there.items() if reference not in (*item.tags, item.id)}


def pruner(engine: Any, store: RedisLink, locks: Locks | None = None, full: float = 10.0, **settings: float) -> Pruner:
    return Pruner(
        engine=engine, desired=Desired(store, "ns"), releases=Releases(store, "ns", keep=1), locks=locks or Locks(),
        namespace="ns", settings=PruneSettings(**settings), disk=lambda: full,
    )  # fmt: skip


async def loaded(found: Pruner) -> Pruner:
    await found.desired.load()
    await found.releases.load()
    return found


async def test_nothing_goes_while_it_is_not_known_what_should_run(store: RedisLink) -> None:
    """Without Redis every image might be needed: a conflict, and nothing is touched."""
    with pytest.raises(Conflict):
        await pruner(Engine(image("a")), store).look()


async def test_looking_changes_nothing_and_pruning_tells_what_went(store: RedisLink) -> None:
    """Kept releases and what is wanted stay; what the engine refuses is told."""
    engine = Engine(image("a"), image("b"), image("c"), image("d", "two"))
    found = await loaded(pruner(engine, store))
    want = DesiredService(spec=Spec(name="one", image="ns/one:a", network="n"))
    await found.desired.put(want)
    await found.releases.put("one", history.deployed((), want, "run", 1.0, 0))
    assert set(refs(await found.look())) == {"ns/one:b", "ns/one:c", "ns/two:d"}
    assert len(engine.there) == 4
    engine.refuses = "ns/one:c"
    told = await found.prune()
    assert refs(told.images) == ["ns/one:b", "ns/two:d"]
    assert told.failed == [{"image": "ns/one:c", "reason": "image is being used"}]
    assert set(engine.there) == {"sha256:a", "sha256:c"}


async def test_an_image_that_is_run_while_its_lock_is_waited_for_stays(store: RedisLink) -> None:
    """What was waste at the first look is looked at again under the lock."""
    engine, locks = Engine(image("a")), Locks()
    found = await loaded(pruner(engine, store, locks))
    hold = locks.hold("one")
    looked = await found.look()
    await hold.__aenter__()
    pruning = asyncio.create_task(found._remove("one", looked, float("inf"), done := Pruned([], [])))
    await asyncio.sleep(0)
    engine.used.add("sha256:a")
    await hold.__aexit__(None, None, None)
    await pruning
    assert (done.images, bool(engine.there)) == ([], True)


async def test_images_are_listed_with_their_sizes_once_and_once_more_for_each_service(store: RedisLink) -> None:
    """The sizes are the engine's slowest query, and it is asked on a disk that is nearly full."""
    many = [image(f"{service}{number}", service) for service in ("one", "two") for number in range(20)]
    engine = Engine(*many)
    found = await loaded(pruner(engine, store))
    assert len((await found.prune()).images) == 40
    assert engine.listed == [True, False, False]


@pytest.mark.parametrize(
    ("disk", "settings", "left"),
    [
        (10.0, {}, {"sha256:young"}),  # by age
        (90.0, {}, set()),  # the disk is too full for patience
        (90.0, {"disk": 0.0}, {"sha256:young"}),
        (10.0, {"age": 0.0}, {"sha256:young", "sha256:old"}),
        (99.0, {"age": 0.0, "disk": 0.0}, {"sha256:young", "sha256:old"}),
    ],
)
async def test_by_itself_it_prunes_by_age_and_disk(
    store: RedisLink, disk: float, settings: dict[str, float], left: set[str]
) -> None:
    """Old images go by age, all of them when the disk is nearly full, none with both switched off."""
    engine = Engine(image("young", created=9e9), image("old", created=1.0))
    found = await loaded(pruner(engine, store, full=disk, **settings))
    await found.once()
    assert set(engine.there) == left
