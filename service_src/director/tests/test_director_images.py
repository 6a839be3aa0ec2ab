"""From folders to images: what they stand on, and what is built when."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from director.engine.interface import ImageInfo
from director.errors import BuildFailed
from director.images.buildkit import Progress
from director.images.catalog import ORIGINAL_BASE, Catalog
from director.images.planning import Images

BASE = "ns/band-base-py:latest"
ON_BASE = "FROM {band-base-py-image}\n"


class Engine:
    """Knows which images there are."""

    def __init__(self) -> None:
        self.tags = {BASE: ImageInfo(id="sha256:" + "b" * 64)}

    async def image(self, reference: str) -> ImageInfo | None:
        return self.tags.get(reference)


class Builder:
    """Builds by noting it; takes a moment, and fails at an image whose name holds `broken`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.built: list[str] = []
        self.contexts: dict[str, bytes] = {}
        self.requests: dict[str, Any] = {}
        self.broken = ""

    async def build(self, request: Any, context: bytes, log: Any) -> None:
        await asyncio.sleep(0.01)
        log(f"#5 building {request.tag}")
        if self.broken and self.broken in request.tag:
            raise BuildFailed(f"building {request.tag} failed", "see the step's last log lines", log=["E: no mirror"])
        self.built.append(request.tag.partition(":")[0])
        self.contexts[request.tag], self.requests[request.tag] = context, request
        self._engine.tags[request.tag] = ImageInfo(id=f"sha256:{len(self.built)}")


class LogFeed:
    """Keeps what is told of builds."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, source: str, name: str, text: str) -> None:
        self.notes.append(f"{source} {name} {text}")


class Workshop:
    """Images over folders of a test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.engine, self.feed = Engine(), LogFeed()
        self.builder = Builder(self.engine)
        feed: Any = self.feed
        runtime: Any = self.engine
        builder: Any = self.builder
        self.images = Images(
            runtime, Catalog(home / "images", home / "builtin"), builder,
            namespace="ns", base_image=BASE, progress=Progress(feed),
        )  # fmt: skip
        self.folder("builtin", ORIGINAL_BASE, ON_BASE, "title: Base\n")

    def folder(self, where: str, name: str, dockerfile: str, band_yml: str | None = None) -> Path:
        path = (self.home / "images" / "user" if where == "user" else self.home / where) / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "Dockerfile").write_text(dockerfile)
        if band_yml is not None:
            (path / "band.yml").write_text(band_yml)
        return path

    async def run(self, name: str) -> str:
        plan = await self.images.plan(name)
        await self.images.ensure(plan)
        return plan.tag

    def dockerfile(self, tag: str) -> str:
        with tarfile.open(fileobj=io.BytesIO(self.builder.contexts[tag])) as archive:
            found = archive.extractfile("Dockerfile")
            assert found is not None
            return found.read().decode()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


async def test_an_original_folder_stands_on_what_its_base_image_brought(workshop: Workshop) -> None:
    """Its base is built first, once, on the plain one; the Dockerfile and the build argument name it."""
    workshop.folder("user", "old", ON_BASE)
    workshop.folder("user", "older", "ARG BASE_CONTAINER=rockstat/band-base-py:3.7\nFROM $BASE_CONTAINER\n")
    tags = await asyncio.gather(workshop.run("old"), workshop.run("older"))
    assert sorted(workshop.builder.built) == ["ns/base_original", "ns/old", "ns/older"]
    (base,) = (tag for tag in workshop.builder.contexts if tag.startswith("ns/base_original:"))
    assert workshop.dockerfile(base) == f"FROM {BASE}\n"
    assert workshop.builder.requests[base].base_image == BASE
    assert workshop.dockerfile(tags[0]) == f"FROM {base}\n"
    assert {workshop.builder.requests[tag].base_image for tag in tags} == {base}
    assert any(note.startswith("build old") and "ns/base_original" in note for note in workshop.feed.notes)
    await workshop.run("old")
    assert len(workshop.builder.built) == 3


async def test_a_folder_of_ours_stands_on_the_plain_base(workshop: Workshop) -> None:
    """One with a band.yml, or on another base, has nothing of it: nothing more is built."""
    workshop.folder("user", "ours", ON_BASE, "{}")
    workshop.folder("user", "foreign", "FROM scratch\n")
    tag = await workshop.run("ours")
    await workshop.run("foreign")
    assert workshop.builder.built == ["ns/ours", "ns/foreign"]
    assert workshop.dockerfile(tag) == f"FROM {BASE}\n"


async def test_a_change_of_that_base_is_a_change_of_the_service(workshop: Workshop) -> None:
    """Of its contents, and of the plain base below it."""
    workshop.folder("user", "old", ON_BASE)
    first = (await workshop.images.plan("old")).tag
    workshop.folder("builtin", ORIGINAL_BASE, f"{ON_BASE}RUN true\n")
    second = (await workshop.images.plan("old")).tag
    workshop.engine.tags[BASE] = ImageInfo(id="sha256:" + "c" * 64)
    third = (await workshop.images.plan("old")).tag
    assert len({first, second, third}) == 3
    assert workshop.builder.built == []


async def test_contents_are_the_same_on_hosts_whose_bases_have_other_ids(workshop: Workshop) -> None:
    """An image's identity is a host's own; what is in it is compared across hosts."""
    workshop.folder("user", "old", ON_BASE)
    first = await workshop.images.plan("old")
    workshop.engine.tags[BASE] = ImageInfo(id="sha256:" + "c" * 64)
    second = await workshop.images.plan("old")
    assert (first.tag != second.tag, first.contents == second.contents) == (True, True)
    workshop.folder("builtin", ORIGINAL_BASE, f"{ON_BASE}RUN true\n")
    assert (await workshop.images.plan("old")).contents != second.contents


async def test_a_service_whose_image_is_there_needs_no_base_under_it(workshop: Workshop) -> None:
    """As on a host without a network, where the image came out of a bundle."""
    workshop.folder("user", "old", ON_BASE)
    workshop.engine.tags[(await workshop.images.plan("old")).tag] = ImageInfo(id="sha256:1")
    await workshop.run("old")
    assert workshop.builder.built == []


async def test_that_base_cannot_be_built_is_told_with_the_way_out(workshop: Workshop) -> None:
    """What failed, what it is for, its last lines, and what to do without a network; the service is not built."""
    workshop.folder("user", "old", ON_BASE)
    workshop.builder.broken = "base_original"
    with pytest.raises(BuildFailed, match="what the original's base image brought along") as caught:
        await workshop.run("old")
    assert "bundle" in caught.value.hint and "band.yml" in caught.value.hint
    assert caught.value.facts["log"] == ["E: no mirror"]
    assert workshop.builder.built == []
    workshop.builder.broken = ""
    await workshop.run("old")
    assert workshop.builder.built == ["ns/base_original", "ns/old"]


@pytest.mark.parametrize("band_yml", [None, "{}"])
async def test_an_operator_may_bring_a_base_of_his_own(workshop: Workshop, band_yml: str | None) -> None:
    """A folder of that name in `user` wins, as for every image; it is no service, and never stands on itself."""
    workshop.folder("user", ORIGINAL_BASE, f"{ON_BASE}RUN pip install arrow\n", band_yml)
    workshop.folder("user", "old", ON_BASE)
    await workshop.run("old")
    (base,) = (tag for tag in workshop.builder.contexts if tag.startswith("ns/base_original:"))
    assert "pip install arrow" in workshop.dockerfile(base)
    assert not (await workshop.images.has_folder(ORIGINAL_BASE))


async def test_without_that_base_the_plain_one_has_to_do(tmp_path: Path) -> None:
    """A director whose built-in folders are not there still runs services."""
    workshop = Workshop(tmp_path)
    (tmp_path / "builtin" / ORIGINAL_BASE / "Dockerfile").unlink()
    (tmp_path / "builtin" / ORIGINAL_BASE / "band.yml").unlink()
    (tmp_path / "builtin" / ORIGINAL_BASE).rmdir()
    workshop.folder("user", "old", ON_BASE)
    assert workshop.dockerfile(await workshop.run("old")) == f"FROM {BASE}\n"
