"""From folders to images: what they stand on, and what is built when."""

from __future__ import annotations

import asyncio
import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from director.engine.interface import ImageInfo
from director.errors import BuildFailed, Conflict
from director.images.buildkit import Progress
from director.images.catalog import ORIGINAL_BASE, TYPESCRIPT_BASE, TYPESCRIPT_BUILD_BASE, Catalog
from director.images.planning import Images

BASE = "ns/band-base-py:latest"
ROOTFS = "ns/rootfs:trixie"
ON_ROOTFS = "ARG BASE_CONTAINER=rockstat/rootfs:trixie\nFROM ${BASE_CONTAINER}\n"
ON_TYPESCRIPT = "FROM {band-base-ts-image}\n"
ON_BASE = "FROM {band-base-py-image}\n"


class Engine:
    """Knows which images there are."""

    def __init__(self) -> None:
        self.tags = {BASE: ImageInfo(id="sha256:" + "b" * 64), ROOTFS: ImageInfo(id="sha256:" + "f" * 64)}

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
            namespace="ns", base_image=BASE, rootfs_image=ROOTFS, progress=Progress(feed),
        )  # fmt: skip
        self.folder("builtin", ORIGINAL_BASE, ON_BASE, "title: Base\n")
        self.folder("builtin", TYPESCRIPT_BASE, ON_ROOTFS, "title: Base\n")
        self.folder("builtin", TYPESCRIPT_BUILD_BASE, ON_TYPESCRIPT, "title: Base\n")

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
        return self.file(tag, "Dockerfile")

    def file(self, tag: str, path: str) -> str:
        with tarfile.open(fileobj=io.BytesIO(self.builder.contexts[tag])) as archive:
            found = archive.extractfile(path)
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
    with pytest.raises(BuildFailed, match=r"the base image of services without a band\.yml") as caught:
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


async def test_services_in_typescript_stand_on_a_base_built_when_the_first_is_run(workshop: Workshop) -> None:
    """Both forms of Dockerfile: one base, on the rootfs and not on Python's."""
    workshop.folder("user", "old", "ARG BASE_CONTAINER=rockstat/band-base-ts:ng\nFROM $BASE_CONTAINER\n", "{}")
    workshop.folder("user", "ours", ON_TYPESCRIPT, "{}")
    tags = await asyncio.gather(workshop.run("old"), workshop.run("ours"))
    assert sorted(workshop.builder.built) == ["ns/base_ts", "ns/old", "ns/ours"]
    (base,) = (tag for tag in workshop.builder.contexts if tag.startswith("ns/base_ts:"))
    assert workshop.builder.requests[base].base_image == ROOTFS
    assert {workshop.builder.requests[tag].base_image for tag in tags} == {base}
    assert workshop.dockerfile(tags[1]) == f"FROM {base}\n"
    await workshop.run("ours")
    assert len(workshop.builder.built) == 3
    with pytest.raises(Conflict, match="an image of the platform itself"):
        await workshop.images.plan(TYPESCRIPT_BASE)


async def test_an_original_folder_in_typescript_stands_on_one_with_a_compiler(workshop: Workshop) -> None:
    """That is built on the base of all others, once, and only when a folder without band.yml is run."""
    workshop.folder("user", "old", "ARG BASE_CONTAINER=rockstat/band-base-ts:ng\nFROM $BASE_CONTAINER\n")
    workshop.folder("user", "older", ON_TYPESCRIPT)
    workshop.folder("user", "ours", ON_TYPESCRIPT, "{}")
    tags = await asyncio.gather(workshop.run("old"), workshop.run("older"), workshop.run("ours"))
    assert sorted(workshop.builder.built) == ["ns/base_ts", "ns/base_ts_build", "ns/old", "ns/older", "ns/ours"]
    (base,) = (tag for tag in workshop.builder.contexts if tag.startswith("ns/base_ts:"))
    (tools,) = (tag for tag in workshop.builder.contexts if tag.startswith("ns/base_ts_build:"))
    assert [workshop.builder.requests[tag].base_image for tag in (tools, *tags)] == [base, tools, tools, base]
    assert workshop.dockerfile(tools) == f"FROM {base}\n"
    with pytest.raises(Conflict, match="an image of the platform itself"):
        await workshop.images.plan(TYPESCRIPT_BUILD_BASE)


async def test_an_original_folder_in_typescript_takes_the_base_that_there_is(workshop: Workshop) -> None:
    """The one that is given, and the plain one where there is no folder of the other."""
    workshop.folder("user", "old", ON_TYPESCRIPT)
    shutil.rmtree(workshop.home / "builtin" / TYPESCRIPT_BUILD_BASE)
    await workshop.run("old")
    assert workshop.builder.built == ["ns/base_ts", "ns/old"]
    workshop.images.base_ts_image = "their/node:1"
    workshop.engine.tags["their/node:1"] = ImageInfo(id="sha256:1")
    assert workshop.dockerfile(await workshop.run("old")) == "FROM their/node:1\n"


async def test_a_change_of_the_typescript_base_is_a_change_of_the_service(workshop: Workshop) -> None:
    """Of its contents, and of the rootfs below it; not of the Python base."""
    workshop.folder("user", "ours", ON_TYPESCRIPT, "{}")
    first = (await workshop.images.plan("ours")).tag
    workshop.engine.tags[BASE] = ImageInfo(id="sha256:" + "c" * 64)
    assert (await workshop.images.plan("ours")).tag == first
    workshop.folder("builtin", TYPESCRIPT_BASE, f"{ON_ROOTFS}RUN true\n")
    second = (await workshop.images.plan("ours")).tag
    workshop.engine.tags[ROOTFS] = ImageInfo(id="sha256:" + "d" * 64)
    assert len({first, second, (await workshop.images.plan("ours")).tag}) == 3


async def test_what_the_typescript_base_trusts_comes_from_the_host(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CA bundle and the npm registry are part of the tag, and not of the contents that hosts compare."""
    bundle = tmp_path / "ca.crt"
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    workshop.folder("user", "ours", ON_TYPESCRIPT, "{}")
    bare = await workshop.images.plan("ours")
    bundle.write_text("a certificate")
    workshop.images.npm_registry = "https://npm.example.com/"
    plan = await workshop.images.plan("ours")
    assert (plan.tag != bare.tag, plan.contents) == (True, bare.contents)
    await workshop.images.ensure(plan)
    (base,) = (tag for tag in workshop.builder.contexts if tag.startswith("ns/base_ts:"))
    assert workshop.file(base, "trust/ca-bundle.crt") == "a certificate"
    assert workshop.file(base, "trust/npmrc") == "registry=https://npm.example.com/\n"


async def test_a_typescript_base_that_is_given_is_not_built(workshop: Workshop) -> None:
    """BAND_BASE_TS_IMAGE names one; it has to be there."""
    workshop.folder("user", "ours", ON_TYPESCRIPT, "{}")
    workshop.images.base_ts_image = "their/node:1"
    with pytest.raises(Conflict, match="their/node:1 does not exist") as caught:
        await workshop.run("ours")
    assert "BAND_BASE_TS_IMAGE" in caught.value.hint
    workshop.engine.tags["their/node:1"] = ImageInfo(id="sha256:1")
    assert workshop.dockerfile(await workshop.run("ours")) == "FROM their/node:1\n"
    assert workshop.builder.built == ["ns/ours"]


async def test_that_the_typescript_base_cannot_be_built_is_told_with_the_way_out(workshop: Workshop) -> None:
    """What failed, its last lines, the registry's setting, and what to do without a network."""
    workshop.folder("user", "ours", ON_TYPESCRIPT, "{}")
    workshop.builder.broken = "base_ts"
    with pytest.raises(BuildFailed, match="the base image of services in TypeScript could not be built") as caught:
        await workshop.run("ours")
    assert "BAND_NPM_REGISTRY" in caught.value.hint and "bundle" in caught.value.hint
    assert caught.value.facts["log"] == ["E: no mirror"]


async def test_pins_of_python_are_not_looked_for_in_a_folder_in_typescript(workshop: Workshop) -> None:
    """Its requirements.txt, if it has one, is nobody's business."""
    folder = workshop.folder("user", "ours", ON_TYPESCRIPT, "{}")
    (folder / "requirements.txt").write_text("aiohttp==3.4.4\n")
    assert (await workshop.images.plan("ours")).notes == []
