"""The catalog of image folders, and the contexts made of them."""

from __future__ import annotations

import io
import os
import tarfile
import time
from pathlib import Path

import pytest

from director.engine.host import own_container
from director.engine.interface import LABEL_CONTENTS, ImageInfo
from director.errors import BuildFailed, InvalidValue, NotFound
from director.images import context
from director.images.catalog import Catalog
from director.images.context import Entry, adapt_requirements, context_hash, pack, read_entries
from director.images.planning import Images


def put(folder: Path, dockerfile: str = "FROM {band-base-py-image}\n", **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    for name, text in files.items():
        (folder / name.replace("_yml", ".yml")).write_text(text)
    return folder


def test_user_wins_over_others_over_node_over_builtin(tmp_path: Path) -> None:
    """The same name in several collections is taken from the one that ranks first."""
    images, builtin = tmp_path / "images", tmp_path / "builtin"
    for collection in ("user", "extra", "node"):
        put(images / collection / "one", band_yml=f"title: from {collection}")
    put(builtin / "one", band_yml="title: from builtin")
    put(images / "node" / "two", band_yml="title: from node")
    put(images / "extra" / "two", band_yml="title: from extra")
    put(builtin / "three")
    catalog = Catalog(images, builtin)
    found = {image.name: (image.title, image.collection) for image in catalog.images()}
    assert found == {"one": ("from user", "user"), "two": ("from extra", "extra"), "three": ("three", "builtin")}


@pytest.mark.parametrize("name", ["__hidden", ".hidden"])
def test_hidden_folders_are_skipped(tmp_path: Path, name: str) -> None:
    """Folders beginning with __ or a dot are not in the catalog."""
    put(tmp_path / "user" / name)
    put(tmp_path / "__collection" / "fine")
    assert Catalog(tmp_path, None).images() == []


@pytest.mark.parametrize("name", ["Upper", "9digit", "a b", "x" * 64])
def test_a_folder_whose_name_could_not_be_a_tag_says_so(tmp_path: Path, name: str) -> None:
    """It stands in the list with the reason, and cannot be run."""
    put(tmp_path / "user" / name)
    (found,) = Catalog(tmp_path, None).images()
    assert (found.name, "its name" in found.problem) == (name, True)
    with pytest.raises(InvalidValue):
        Catalog(tmp_path, None).get(name)


def test_what_is_not_utf8_breaks_no_list(tmp_path: Path) -> None:
    """A folder with such a name is skipped; half a character in band.yml is the folder's problem."""
    put(tmp_path / "user" / os.fsdecode(b"bad\xff"))
    put(tmp_path / os.fsdecode(b"\xfe") / "lost")
    put(tmp_path / "user" / "half", band_yml='title: "\\ud83d"')
    put(tmp_path / "user" / "old", meta_yml='title: "\\ud83d"')
    put(tmp_path / "user" / "fine", band_yml="title: ✓")
    found = {image.name: (image.title, image.problem) for image in Catalog(tmp_path, None).images()}
    problem = "band.yml: not UTF-8, or an escape in it is half a character"
    assert found == {"half": ("half", problem), "old": ("old", ""), "fine": ("✓", "")}


def test_a_folder_without_a_dockerfile_says_so(tmp_path: Path) -> None:
    """It is listed with its problem and cannot be run, unless another collection has a whole one; files are none."""
    (tmp_path / "user" / "half").mkdir(parents=True)
    (tmp_path / "user" / "whole").mkdir()
    (tmp_path / "user" / "notes.txt").write_text("x")
    put(tmp_path / "other" / "whole")
    catalog = Catalog(tmp_path, None)
    found = {item.name: (item.collection, item.problem) for item in catalog.images()}
    assert found == {"half": ("user", "there is no Dockerfile in it"), "whole": ("other", "")}
    assert catalog.get("whole").collection == "other"
    with pytest.raises(InvalidValue, match="no Dockerfile") as caught:
        catalog.get("half")
    assert caught.value.hint == "give it one"


@pytest.mark.parametrize("name", ["../etc", "a/b", "", "A", "a\n", "a.b", "-a", "é"])
def test_a_bad_name_never_reaches_a_path(tmp_path: Path, name: str) -> None:
    """Asking for a name with dots, slashes or line ends is an invalid value, not a look at the disk."""
    with pytest.raises(InvalidValue):
        Catalog(tmp_path, None).get(name)


def test_an_unknown_name_is_not_found(tmp_path: Path) -> None:
    """A good name that no collection has is NotFound."""
    with pytest.raises(NotFound):
        Catalog(tmp_path, tmp_path).get("ghost")


def test_the_originals_meta_and_labels_are_read(tmp_path: Path) -> None:
    """Title and position come from band.yml, else meta.yml, else the Dockerfile's labels."""
    labels = 'FROM x\nLABEL band.service.title="By label" \\\n  band.service.def_position="5x6"\n'
    put(tmp_path / "user" / "labelled", labels)
    put(tmp_path / "user" / "met", labels, meta_yml="title: By meta\npos: 2x3\n")
    put(tmp_path / "user" / "own", labels, band_yml="title: By band\npos: 1x1\n", meta_yml="title: By meta\n")
    found = {image.name: (image.title, image.pos) for image in Catalog(tmp_path, None).images()}
    assert found == {"labelled": ("By label", "5x6"), "met": ("By meta", "2x3"), "own": ("By band", "1x1")}


def test_places_are_counted_from_0_as_the_original_did(tmp_path: Path) -> None:
    """In a label, in meta.yml in both forms, and in band.yml."""
    put(tmp_path / "user" / "ctrack", 'FROM x\nLABEL band.service.def_position="4x0"\n')
    put(tmp_path / "user" / "cookiesync", meta_yml="pos: {col: 0, row: 2}\n")
    put(tmp_path / "user" / "facebook", meta_yml="pos: 0x0\n")
    put(tmp_path / "user" / "ours", band_yml="pos: 0x3\n")
    found = {image.name: image.pos for image in Catalog(tmp_path, None).images()}
    assert found == {"ctrack": "4x0", "cookiesync": "0x2", "facebook": "0x0", "ours": "0x3"}


def test_a_folder_without_band_yml_may_write(tmp_path: Path) -> None:
    """Original folders get a writable root, those on another base their own user too; ours are read-only, as 10001."""
    put(tmp_path / "user" / "original")
    put(tmp_path / "user" / "foreign", "FROM debian:trixie\n")
    put(tmp_path / "user" / "ours", band_yml="{}")
    catalog = Catalog(tmp_path, None)
    assert (catalog.get("original").band.read_only, catalog.get("original").band.user) == (False, "10001:10001")
    assert (catalog.get("foreign").band.read_only, catalog.get("foreign").band.user) == (False, None)
    assert (catalog.get("ours").band.read_only, catalog.get("ours").band.user) == (True, "10001:10001")


@pytest.mark.parametrize(
    "text",
    [
        "titel: typo\n", "pos: far\n", "limits: {memory: lots}\n", "a: [\n", "env: {PORT: 1}\n", "title: 2026-02-30\n",
        "stop_timeout: 601\n", "stop_timeout: .inf\n", "stop_timeout: -1\n", "health: {interval: .inf}\n",
        "health: {timeout: .nan}\n", "watch: .inf\n", "pos: '01x1'\n", "a: " + "[" * 3000,
    ],
)  # fmt: skip
def test_a_wrong_band_yml_is_named_when_asked_for(tmp_path: Path, text: str) -> None:
    """A folder with a wrong band.yml is listed with its problem, and cannot be run."""
    put(tmp_path / "user" / "odd", band_yml=text)
    catalog = Catalog(tmp_path, None)
    assert catalog.images()[0].problem.startswith("band.yml")
    with pytest.raises(InvalidValue, match=r"band\.yml"):
        catalog.get("odd")


@pytest.mark.parametrize("line", ["FROM {band-base-image}", "from --platform=linux/amd64 {band-py} AS one"])
def test_a_placeholder_that_nobody_fills_in_is_named(tmp_path: Path, line: str) -> None:
    """A slip in the base's placeholder is told with those there are, and with the file to correct."""
    put(tmp_path / "user" / "slip", f"{line}\nRUN true\n")
    put(tmp_path / "user" / "fine", "# FROM {band-old}\nFROM {band-base-py-image}\n")
    catalog = Catalog(tmp_path, None)
    with pytest.raises(InvalidValue, match=r"\{band-base-py-image\} and \{band-base-ts-image\}") as caught:
        catalog.get("slip")
    assert caught.value.hint.endswith("slip/Dockerfile")
    assert catalog.get("fine").problem == ""


TYPESCRIPT = ["FROM {band-base-ts-image}\n", "ARG BASE_CONTAINER=rockstat/band-base-ts:ng\nFROM $BASE_CONTAINER\n"]


@pytest.mark.parametrize("dockerfile", TYPESCRIPT)
def test_a_folder_in_typescript_stands_on_its_own_base(tmp_path: Path, dockerfile: str) -> None:
    """By the placeholder or the original's build argument, with or without band.yml; its health check is rockme's."""
    put(tmp_path / "user" / "old", dockerfile)
    put(tmp_path / "user" / "ours", dockerfile, band_yml="health: {interval: 5}\n")
    put(tmp_path / "user" / "mute", dockerfile, band_yml="health: false\n")
    put(tmp_path / "user" / "own", dockerfile, band_yml="health: {command: [/bin/true]}\n")
    put(tmp_path / "user" / "python", band_yml="{}")
    found = {image.name: image for image in Catalog(tmp_path, None).images()}
    assert {name: image.stands_on for name, image in found.items()} == {
        "old": "base_ts_build", "ours": "base_ts", "mute": "base_ts", "own": "base_ts", "python": "",
    }  # fmt: skip
    checks = {name: check.command if (check := image.health()) else None for name, image in found.items()}
    assert checks == {
        "old": ["rockme", "check"], "ours": ["rockme", "check"], "mute": None, "own": ["/bin/true"],
        "python": ["python", "-m", "band", "check"],
    }  # fmt: skip
    assert found["ours"].health().interval == 5  # type: ignore[union-attr]
    assert (found["old"].band.read_only, found["old"].band.user) == (False, "10001:10001")


def test_a_folder_has_one_base(tmp_path: Path) -> None:
    """Both placeholders in one Dockerfile are refused."""
    put(tmp_path / "user" / "both", "FROM {band-base-ts-image} AS page\nFROM {band-base-py-image}\n")
    with pytest.raises(InvalidValue, match="one base image"):
        Catalog(tmp_path, None).get("both")


def test_a_source_in_typescript_is_laid_without_what_npm_and_tsc_made(tmp_path: Path) -> None:
    """The base image's source has a name of its own; a service's has its folder's."""
    for folder, source in (("base_ts", "rock_me_ts"), ("send_webhook", "send_webhook")):
        put(tmp_path / "builtin" / folder, "ARG BASE_CONTAINER=x\nFROM $BASE_CONTAINER\n")
        home = tmp_path / "src" / source
        for name in ("lib/index.ts", "node_modules/a/index.js", "dist/index.js", "test/index.test.ts", "package.json"):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text("{}")
        image = Catalog(None, tmp_path / "builtin", [tmp_path / "src"]).get(folder)
        assert image.source == home
        paths = [entry.path for entry in read_entries(image, "x:1")]
        assert paths == ["Dockerfile", "src/lib/index.ts", "src/package.json"]


def test_a_folder_is_named_as_people_find_it(tmp_path: Path) -> None:
    """The director's container has the host's folders mounted: nobody can open a path inside of it."""
    put(tmp_path / "user" / "odd", band_yml="titel: typo\n")
    catalog = Catalog(tmp_path, None, mounts={str(tmp_path): "/srv/rockstat/images", "/etc": "/var/lib/x"})
    with pytest.raises(InvalidValue) as caught:
        catalog.get("odd")
    assert caught.value.hint == "correct /srv/rockstat/images/user/odd/band.yml"
    assert catalog.host_path(Path("/usr/share/rockstat/x")) == Path("/usr/share/rockstat/x")
    details = {
        "Id": "c1", "Name": "/director", "HostConfig": {},
        "Mounts": [
            {"Type": "bind", "Source": "/srv/rockstat/images", "Destination": "/images"},
            {"Type": "volume", "Source": "/var/lib/docker/volumes/x", "Destination": "/data"},
        ],
    }  # fmt: skip
    assert own_container(details).mounts == {"/images": "/srv/rockstat/images"}


def test_a_folder_that_cannot_be_looked_into_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Dockerfile, its band.yml, all of it: it stands in the list with the reason, and the others do too."""
    put(tmp_path / "user" / "fine")
    put(tmp_path / "user" / "shut")
    put(tmp_path / "user" / "locked", band_yml="title: x\n")
    (tmp_path / "user" / "odd").mkdir()
    (tmp_path / "user" / "odd" / "Dockerfile").symlink_to("x" * 300)  # a name too long is an error of its own kind
    read = Path.read_text

    def read_text(path: Path, *args: str, **more: str) -> str:
        if path in {tmp_path / "user/shut/Dockerfile", tmp_path / "user/locked/band.yml"}:
            raise PermissionError(13, "Permission denied")
        return read(path, *args, **more)

    monkeypatch.setattr(Path, "read_text", read_text)
    found = {image.name: image.problem for image in Catalog(tmp_path, None).images()}
    assert found == {
        "fine": "", "shut": "its Dockerfile cannot be read: Permission denied", "odd": "there is no Dockerfile in it",
        "locked": "band.yml cannot be read: Permission denied",
    }  # fmt: skip
    with pytest.raises(InvalidValue, match="cannot be read") as caught:
        Catalog(tmp_path, None).get("shut")
    assert "shut" in caught.value.hint


def test_a_context_that_cannot_be_read_or_held_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without permission, one that is too large, and many that are too large together: each with what to do."""
    put(tmp_path / "user" / "one", main="print()", data="x" * 600, more="x" * 600)
    image = Catalog(tmp_path, None).get("one")
    for largest, word in ((500, "data is larger"), (1000, "image folder one is larger")):
        monkeypatch.setattr(context, "LARGEST", largest)
        with pytest.raises(InvalidValue, match=word) as caught:
            read_entries(image, "base:1")
        assert "volume" in caught.value.hint
    monkeypatch.undo()

    def read_bytes(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    with pytest.raises(InvalidValue, match=r"Dockerfile cannot be read: Permission denied"):
        read_entries(image, "base:1")


def test_what_dockerignore_names_is_no_part_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the context nor in its hash, and not read: a developer's secrets, a large local database."""
    folder = put(tmp_path / "user" / "one", main="print()")
    (folder / ".dockerignore").write_text(".env*\ndata/*\n!data/keep\nlink\n")
    image = Catalog(tmp_path, None).get("one")
    before = context_hash(read_entries(image, "base:1"), "")
    (folder / "data" / "deep").mkdir(parents=True)
    for name in (".env", ".env.local", "data/large.db", "data/deep/more.db"):
        (folder / name).write_text("A_DEV_TOKEN=1")
    (folder / "link").symlink_to("/etc/shadow")
    read = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        assert path.name in {"Dockerfile", "main", ".dockerignore", "keep"}, path
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert [entry.path for entry in read_entries(image, "base:1")] == [".dockerignore", "Dockerfile", "main"]
    assert context_hash(read_entries(image, "base:1"), "") == before
    (folder / "data" / "keep").write_text("x")
    assert [entry.path for entry in read_entries(image, "base:1")] == [
        ".dockerignore", "Dockerfile", "data/keep", "main",
    ]  # fmt: skip


def test_a_dockerignore_that_cannot_be_meant_names_the_folder(tmp_path: Path) -> None:
    """Nothing is packed then: what its writer wanted to keep out might be in it."""
    put(tmp_path / "user" / "one")
    (tmp_path / "user" / "one" / ".dockerignore").write_text("ok\n[\n")
    with pytest.raises(InvalidValue, match=r"image folder one: \.dockerignore line 2"):
        read_entries(Catalog(tmp_path, None).get("one"), "base:1")


def test_files_whose_names_docker_refuses_are_told(tmp_path: Path) -> None:
    """A name, or a link's target, that is not UTF-8: left out by .dockerignore, or an error that shows it."""
    folder = put(tmp_path / "user" / "one")
    (folder / os.fsdecode(b"bad\xff")).touch()
    with pytest.raises(InvalidValue, match=r"folder one: the name of the file bad\\xff is not UTF-8"):
        read_entries(Catalog(tmp_path, None).get("one"), "base")
    (folder / ".dockerignore").write_text("bad*")
    (folder / "link").symlink_to(os.fsdecode(b"to\xff"))
    with pytest.raises(InvalidValue, match="the target of the link link is not UTF-8"):
        read_entries(Catalog(tmp_path, None).get("one"), "base")


@pytest.mark.timeout(20)
def test_files_that_are_read_for_each_list_are_small(tmp_path: Path) -> None:
    """A large band.yml would stop the director for as long as it is read, again and again."""
    much = "#" * 80_000_000
    put(tmp_path / "user" / "band", band_yml=much)
    put(tmp_path / "user" / "meta", meta_yml=f"title: wrong\n{much}")
    put(tmp_path / "user" / "docker", f"FROM x\n{much}")
    put(tmp_path / "user" / "ignore", **{".dockerignore": much})
    found = {image.name: (image.title, image.problem) for image in Catalog(tmp_path, None).images()}
    assert found == {
        "band": ("band", "band.yml: band.yml is larger than 64 KiB"),
        "docker": ("docker", "its Dockerfile is larger than 64 KiB"),
        "ignore": ("ignore", ""),
        "meta": ("meta", ""),
    }
    with pytest.raises(InvalidValue, match=r"folder ignore: \.dockerignore is larger than 64 KiB"):
        read_entries(Catalog(tmp_path, None).get("ignore"), "base")


@pytest.mark.timeout(20)
def test_pipes_in_a_folder_are_never_opened(tmp_path: Path) -> None:
    """To open one waits for its writer, perhaps for ever."""
    folder = put(tmp_path / "user" / "one")
    for name in (".dockerignore", "band.yml", "meta.yml", "data"):
        os.mkfifo(folder / name)
    entries = read_entries(Catalog(tmp_path, None).get("one"), "base")
    assert [entry.path for entry in entries] == ["Dockerfile"]


def test_service_source_is_laid_beside_a_builtin_folder(tmp_path: Path) -> None:
    """`service_src/<name>` comes as src/, without tests and caches; a user's folder brings its own code."""
    source = tmp_path / "service_src" / "geo"
    (source / "tests").mkdir(parents=True)
    (source / "src" / "geo" / "__pycache__").mkdir(parents=True)
    for path in ("pyproject.toml", "tests/test_x.py", "src/geo/__init__.py", "src/geo/__pycache__/x.pyc"):
        (source / path).write_text("x")
    put(tmp_path / "builtin" / "geo")
    catalog = Catalog(tmp_path / "images", tmp_path / "builtin", [tmp_path / "service_src"])
    paths = [entry.path for entry in read_entries(catalog.get("geo"), "base:1")]
    assert paths == ["Dockerfile", "src/pyproject.toml", "src/src/geo/__init__.py"]
    put(tmp_path / "images" / "user" / "geo")
    assert [entry.path for entry in read_entries(catalog.get("geo"), "base:1")] == ["Dockerfile"]


def test_the_hash_changes_with_contents_mode_and_base_only(tmp_path: Path) -> None:
    """Touching a file changes nothing; a byte, an executable bit or another base image does."""
    folder = put(tmp_path / "user" / "one", main="print()")
    image = Catalog(tmp_path, None).get("one")

    def now(base: str = "sha256:a") -> str:
        return context_hash(read_entries(image, "base:1"), base)

    first = now()
    os.utime(folder / "main", (1, 1))
    assert now() == first
    assert now("sha256:b") != first
    (folder / "main").chmod(0o755)
    executable = now()
    assert executable != first
    (folder / "main").write_text("print(1)")
    assert now() not in {first, executable}


async def test_the_label_of_contents_is_the_same_on_every_host(tmp_path: Path) -> None:
    """The tag names the base image of this host, the label what both are made of: two hosts can be compared by it."""
    put(tmp_path / "user" / "one", main="print()")

    class Host:
        def __init__(self, base: str, contents: str) -> None:
            self._base = ImageInfo(id=base, labels={LABEL_CONTENTS: contents})

        async def image(self, tag: str) -> ImageInfo | None:
            return self._base if tag == "base:1" else None

    async def made(base: str, contents: str) -> tuple[str, str]:
        catalog, runtime = Catalog(tmp_path, None), Host(base, contents)
        images = Images(runtime, catalog, None, namespace="t", base_image="base:1", progress=None)  # type: ignore[arg-type]
        plan = await images.plan("one")
        return plan.tag, plan.labels("t")[LABEL_CONTENTS]

    here, there, newer = await made("sha256:a", "1"), await made("sha256:b", "1"), await made("sha256:a", "2")
    assert here[0] != there[0]
    assert here[1] == there[1]
    assert newer[1] != here[1]


def test_moving_bytes_between_files_changes_the_hash(tmp_path: Path) -> None:
    """A file that holds what another file's name and contents would look like is another context."""
    one = put(tmp_path / "a" / "svc", x="1y-2")
    first = context_hash(read_entries(Catalog(tmp_path, None).get("svc"), "b"), "")
    (one / "x").write_text("1")
    (one / "y").write_text("2")
    assert context_hash(read_entries(Catalog(tmp_path, None).get("svc"), "b"), "") != first


def test_the_tar_is_the_same_every_time_and_names_the_base(tmp_path: Path) -> None:
    """Two packings are equal byte by byte; the placeholder is replaced; links are kept as links and not followed.

    Files are of a day that archives know: what packs them in an image (a wheel, a zip) begins with 1980.
    """
    folder = put(tmp_path / "user" / "one", main="print()")
    (folder / "link").symlink_to("/etc/shadow")
    image = Catalog(tmp_path, None).get("one")
    raw = pack(read_entries(image, "base:1"))
    os.utime(folder / "main", (5, 5))
    assert pack(read_entries(image, "base:1")) == raw
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        found = archive.extractfile("Dockerfile")
        assert found is not None
        assert found.read() == b"FROM base:1\n"
        assert archive.getmember("link").linkname == "/etc/shadow"
        assert {time.gmtime(member.mtime).tm_year for member in archive.getmembers()} == {1980}


def test_requirements_of_2018_install_today_and_hashed_ones_stay() -> None:
    """Pins that would take band's own libraries back are set aside with a reason; a hashed file is left alone."""
    old = [Entry("Dockerfile"), Entry("requirements.txt", b"aiohttp==3.4.4\nhumanize==0.5.1\n")]
    entries, notes = adapt_requirements(old)
    assert entries[1].content == b"# part of the base image: aiohttp==3.4.4\nhumanize==0.5.1\n"
    assert notes == ["requirements.txt, line 1: `aiohttp==3.4.4` is ignored: the base image contains aiohttp"]
    ours = [Entry("requirements.txt", b"aiohttp==3.4.4 --hash=sha256:00\n")]
    assert adapt_requirements(ours) == (ours, [])


def test_a_requirement_that_cannot_be_had_is_named() -> None:
    """The error of the build names the file, the line and the reason."""
    with pytest.raises(BuildFailed, match=r"requirements.txt, line 2: `cchardet==2.1.4` is not available"):
        adapt_requirements([Entry("requirements.txt", b"humanize\ncchardet==2.1.4\n")])
