"""Backups and bundles: what is sealed, damaged or foreign is told apart."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "collections"))

from ansible_collections.rockstat.band.plugins.module_utils import archive, bundle, manifest, record  # noqa: E402
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import Answer  # noqa: E402
from ansible_collections.rockstat.band.plugins.modules import (  # noqa: E402
    band_backup,
    band_footprint,
    band_packages,
    band_restore,
)

SECRET = "correct-horse-battery"


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """An archive of two files."""
    content = tmp_path / "content"
    (content / "volumes").mkdir(parents=True)
    (content / "redis.rdb").write_bytes(b"REDIS0011")
    (content / "volumes" / "a.tar").write_bytes(b"x" * 100_000)
    target = tmp_path / "backup.tar.gz"
    archive.pack(str(content), str(target), {"namespace": "rockstat"})
    return target


def test_what_was_packed_comes_out_again(packed: Path, tmp_path: Path) -> None:
    """Unpacking gives the same bytes, and the manifest says what the packer was told."""
    manifest = archive.unpack(str(packed), str(tmp_path / "out"))
    assert manifest["namespace"] == "rockstat"
    assert sorted(manifest["files"]) == ["redis.rdb", "volumes/a.tar"]
    assert (tmp_path / "out" / "redis.rdb").read_bytes() == b"REDIS0011"


@pytest.mark.parametrize(("images", "code", "refused"), [("daf6 48c6", 1, True), ("daf6", 0, False), ("", 1, False)])
def test_a_snapshot_that_redis_cannot_load_is_refused(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: str, code: int, refused: bool
) -> None:
    """The newest image of Redis on the host tries it before anything is removed; without an image nobody can."""
    tried: list[tuple[str, bytes]] = []

    def run(*args: str, stdin: Any = None) -> Answer:
        if args[0] == "image":
            return Answer(0, images.replace(" ", "\n"), "")
        tried.append((args[-3], stdin.read()))
        return Answer(code, "Checking\n--- RDB ERROR DETECTED ---\n[offset 9] Can't handle RDB format version 12\n", "")

    monkeypatch.setattr(band_restore, "run", run)
    restore = band_restore.Restore({"archive": str(packed), "redis_image": "rockstat/redis"}, str(tmp_path))
    whole = {**restore.open(), "redis": {"version": "8.0.2"}}
    if refused:
        with pytest.raises(archive.ArchiveError, match=r"8\.0\.2 wrote: .offset 9. .*version 12\. Nothing was changed"):
            restore.check_snapshot(whole)
    else:
        restore.check_snapshot(whole)
    assert tried == ([("daf6", b"REDIS0011")] if images else [])


@pytest.mark.parametrize("fails", [False, True])
def test_a_restore_that_ends_half_way_leaves_a_mark(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """It names the archive, and is gone when everything is in place."""
    home = tmp_path / "home"
    mark = home / "restore.unfinished"
    seen: list[str] = []

    def fill(_self: Any, volume: str, _file: Any, _service: str) -> None:
        seen.append(mark.read_text())
        if fails and volume == "a":
            raise OSError("no room")

    monkeypatch.setattr(band_restore.Restore, "_redis_tar", lambda _self: None)
    monkeypatch.setattr(band_restore.Restore, "_fill", fill)
    restore = band_restore.Restore({"archive": str(packed), "home": str(home), "redis_uid": 0}, str(tmp_path))
    whole = {**restore.open(), "volumes": ["a"]}
    if fails:
        with pytest.raises(OSError, match="no room"):
            restore.apply(whole)
    else:
        restore.apply(whole)
    assert seen == ["backup.tar.gz\n"] * 2
    assert mark.exists() is fails


def test_the_manifest_comes_first(packed: Path) -> None:
    """Whoever lists an archive reads its manifest without the rest."""
    with tarfile.open(packed) as tar:
        assert tar.getnames()[0] == "manifest.json"


def test_a_sealed_archive_opens_with_its_passphrase_only(packed: Path, tmp_path: Path) -> None:
    """The right passphrase gives the same file; another one is refused before anything is deciphered."""
    sealed, opened = tmp_path / "sealed", tmp_path / "opened"
    archive.seal(str(packed), str(sealed), SECRET)
    assert archive.is_sealed(str(sealed))
    assert not archive.is_sealed(str(packed))
    archive.unseal(str(sealed), str(opened), SECRET)
    assert opened.read_bytes() == packed.read_bytes()
    with pytest.raises(archive.ArchiveError, match="cannot be decrypted"):
        archive.unseal(str(sealed), str(tmp_path / "never"), "another-passphrase")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("place", [3, 9, 500, -40, -1])
def test_a_changed_byte_is_noticed_wherever_it_is(packed: Path, tmp_path: Path, place: int) -> None:
    """In the header, the salt, the body or the seal itself: the file does not open."""
    sealed = tmp_path / "sealed"
    archive.seal(str(packed), str(sealed), SECRET)
    content = bytearray(sealed.read_bytes())
    content[place] ^= 1
    sealed.write_bytes(content)
    with pytest.raises(archive.ArchiveError, match="cannot be decrypted"):
        archive.unseal(str(sealed), str(tmp_path / "never"), SECRET)


def test_a_truncated_archive_is_no_backup(packed: Path, tmp_path: Path) -> None:
    """Half a file says so, with the file's name."""
    packed.write_bytes(packed.read_bytes()[:200])
    with pytest.raises(archive.ArchiveError, match=r"backup\.tar\.gz is not a complete backup"):
        archive.unpack(str(packed), str(tmp_path / "out"))


def _tar_of(path: Path, files: dict[str, bytes], link: tuple[str, str] | None = None) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        if link:
            entry = tarfile.TarInfo(link[0])
            entry.type, entry.linkname = tarfile.SYMTYPE, link[1]
            tar.addfile(entry)


def test_a_part_that_differs_from_the_manifest_is_named(tmp_path: Path) -> None:
    """A whole tar with other bytes than the manifest promises is damaged."""
    rows = {"redis.rdb": {"sha256": "0" * 64, "bytes": 1}}
    _tar_of(tmp_path / "x", {"manifest.json": json.dumps({"format": 1, "files": rows}).encode(), "redis.rdb": b"y"})
    with pytest.raises(archive.ArchiveError, match=r"redis\.rdb is not what its manifest says"):
        archive.unpack(str(tmp_path / "x"), str(tmp_path / "out"))


def test_nothing_is_written_outside_of_the_folder(tmp_path: Path) -> None:
    """A name that climbs out of the folder, or a link, has no place in a backup."""
    _tar_of(tmp_path / "up", {"../escaped": b"y"})
    _tar_of(tmp_path / "link", {}, ("inside", "/etc/passwd"))
    for name in ("up", "link"):
        with pytest.raises(archive.ArchiveError, match="must not be in a backup"):
            archive.unpack(str(tmp_path / name), str(tmp_path / "out"))
    assert not (tmp_path / "escaped").exists()


def _tree_of(path: Path, *entries: tuple[str, str | bytes | None]) -> Path:
    """Write a tar of folders (None), links (a target) and files (their content)."""
    with tarfile.open(path, "w") as tar:
        for name, what in entries:
            entry = tarfile.TarInfo(name)
            entry.uid, entry.gid, entry.mode = os.getuid(), os.getgid(), 0o755
            if what is None:
                entry.type = tarfile.DIRTYPE
            elif isinstance(what, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, what
            else:
                entry.size = len(what)
            tar.addfile(entry, io.BytesIO(what) if isinstance(what, bytes) else None)
    return path


def test_a_restore_writes_through_no_link(tmp_path: Path) -> None:
    """Whoever may write image folders puts a link where a folder was: what was in the folder goes not to its target."""
    outside, home = tmp_path / "outside", tmp_path / "home"
    outside.mkdir(mode=0o700)
    (home / "images").mkdir(parents=True)
    (home / "images" / "x").symlink_to(outside)
    tree = _tree_of(tmp_path / "images.tar", ("images", None), ("images/x", None), ("images/x/job", b"evil"))
    with tarfile.open(tree) as tar:
        manifest.extract(tar, str(home), as_packed=True)
    assert (home / "images" / "x" / "job").read_bytes() == b"evil"
    assert not (home / "images" / "x").is_symlink()
    (home / "images" / "x" / "job").unlink()
    (home / "images" / "x").rmdir()
    (home / "images" / "x").symlink_to(outside)
    with (
        tarfile.open(_tree_of(tmp_path / "bare.tar", ("images/x/job", b"evil"))) as tar,
        pytest.raises(archive.ArchiveError, match="images/x/job must not be in a backup"),
    ):
        manifest.extract(tar, str(home), as_packed=True)
    assert not list(outside.iterdir())
    assert outside.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"redis.rdb": b"R", "images.tar": [("images/l", "/root"), ("images/l/x", b"y")]}, "images/l/x must not"),
        ({"redis.rdb": b"R", "etc.tar": [("../x", b"y")]}, r"\.\./x must not be in a backup"),
        ({"redis.rdb": b"R", "etc.tar": b"no tar"}, "is not a complete backup"),
        ({"x": b"R"}, r"not a complete backup of this platform \(it has no redis\.rdb\)"),
        ({"redis.rdb": b"R", "images.tar": [("images", None), ("images/l", "l2"), ("images/f", b"y")]}, ""),
    ],
)  # fmt: skip
def test_a_restore_looks_into_all_parts_before_it_stops_anything(
    tmp_path: Path, parts: dict[str, Any], said: str
) -> None:
    """What could not be put in place is refused while the platform still runs."""
    content = tmp_path / "content"
    content.mkdir()
    for name, what in parts.items():
        if isinstance(what, bytes):
            (content / name).write_bytes(what)
        else:
            _tree_of(content / name, *what)
    target = tmp_path / "backup.tar.gz"
    archive.pack(str(content), str(target), {"namespace": "rockstat"})
    restore = band_restore.Restore({"archive": str(target), "passphrase": ""}, str(tmp_path / "out"))
    if said:
        with pytest.raises(archive.ArchiveError, match=said):
            restore.open()
    else:
        assert restore.open()["namespace"] == "rockstat"


@pytest.mark.parametrize("content", [b"[1]", b"{}", b'{"files": 1}', b"{"])
def test_a_manifest_of_another_form_is_not_readable(tmp_path: Path, content: bytes) -> None:
    """The message names the archive, whatever is in it."""
    _tar_of(tmp_path / "x", {"manifest.json": content})
    with pytest.raises(archive.ArchiveError, match="x has no readable manifest"):
        archive.unpack(str(tmp_path / "x"), str(tmp_path / "out"))


def test_archives_of_another_namespace_are_not_counted(tmp_path: Path) -> None:
    """In a shared folder only what has the whole form of our names is old: a namespace may begin with another one."""
    ours = [f"rockstat-2026112{day}T030000Z.tar.gz{ending}" for day, ending in ((1, ""), (2, ".enc"), (3, ""))]
    theirs = ["rockstat-2-20261120T030000Z.tar.gz", "rockstat-20261120T030000Z-keep.tar.gz", "rockstat-2.tar.gz"]
    for name in [*ours, *theirs]:
        (tmp_path / name).write_bytes(b"")
    backup = band_backup.Backup(
        {"namespace": "rockstat", "redis": "", "dest": str(tmp_path), "keep": 2, "passphrase": ""}
    )
    assert backup.superfluous(made=True) == [str(tmp_path / ours[0])]


def test_an_archive_of_a_later_version_asks_for_an_update(tmp_path: Path) -> None:
    """What this version cannot know it does not guess."""
    _tar_of(tmp_path / "x", {"manifest.json": b'{"format": 99, "files": {}}'})
    with pytest.raises(archive.ArchiveError, match="later version"):
        archive.unpack(str(tmp_path / "x"), str(tmp_path / "out"))


def test_a_bundle_with_a_missing_or_changed_file_is_damaged(tmp_path: Path) -> None:
    """Every file is compared, and the one that differs is named."""
    (tmp_path / "debs").mkdir()
    (tmp_path / "debs" / "a.deb").write_bytes(b"a")
    manifest.pack(str(tmp_path), str(tmp_path.with_suffix(".tar")), {"contents": "c"})
    assert manifest.check(str(tmp_path), "The bundle", "Copy it again.")["contents"] == "c"
    (tmp_path / "debs" / "a.deb").write_bytes(b"b")
    with pytest.raises(archive.ArchiveError, match=r"debs/a\.deb is not what its manifest says"):
        manifest.check(str(tmp_path), "The bundle", "Copy it again.")


def test_an_index_makes_a_folder_a_repository(tmp_path: Path) -> None:
    """apt finds each file by the index; the list of what is inside reads the same index."""
    (tmp_path / "a.deb").write_bytes(b"four")
    bundle.index_packages(str(tmp_path), {"a.deb": "Package: a\nVersion: 1:2-3\nArchitecture: all\nDepends: b\n"})
    text = (tmp_path / "Packages").read_text()
    assert "Filename: ./a.deb\nSize: 4\nSHA256: " in text
    assert bundle.packages_of(str(tmp_path / "Packages")) == [("a", "1:2-3", "all")]


def test_the_list_of_what_is_inside_names_each_package_once_a_holder(tmp_path: Path) -> None:
    """The same package in two images stands twice, twice in one image once; names are package URLs."""
    listing = "deb libc6 2.41-12 amd64\npypi Aiohttp 3.12.1 any\nnonsense\ndeb libc6 2.41-12 amd64\n"
    rows = bundle.components_of(listing, "one:1") + bundle.components_of(listing, "two:1")
    bundle.write_sbom(str(tmp_path / "sbom.json"), rows)
    document = json.loads((tmp_path / "sbom.json").read_text())
    assert [one["purl"] for one in document["components"]] == [
        "pkg:deb/debian/libc6@2.41-12?arch=amd64",
        "pkg:deb/debian/libc6@2.41-12?arch=amd64",
        "pkg:pypi/aiohttp@3.12.1",
        "pkg:pypi/aiohttp@3.12.1",
    ]


def test_a_stream_is_compressed_whole(tmp_path: Path) -> None:
    """More than one chunk comes out as it went in."""
    content = bytes(range(256)) * 10_000
    bundle.compress(io.BytesIO(content), str(tmp_path / "x.gz"))
    assert gzip.decompress((tmp_path / "x.gz").read_bytes()) == content


def _container(
    name: str, namespace: str, service: str, volumes: tuple[str, ...] = (), **more: str
) -> dict[str, object]:
    labels = {"band.managed": "true", "band.namespace": namespace, "band.service": service}
    labels |= {f"band.{key}": value for key, value in more.items()}
    return {
        "Name": f"/{name}",
        "Image": "sha256:1",
        "State": {"Status": "running"},
        "Config": {"Labels": labels if namespace else None, "Image": "x"},
        "Mounts": [{"Type": "volume", "Name": volume} for volume in volumes],
    }


def test_only_what_carries_the_labels_is_ours() -> None:
    """Another namespace and somebody else's container are counted, not listed; the director stands first."""
    footprint = band_footprint.Footprint("rockstat", [])
    rows = footprint.containers(
        [
            _container("redis", "rockstat", "redis", ("rockstat-redis-data",)),
            _container("front", "rockstat", "front", kind="service", config="c0ffee"),
            _container("a person's shell in front's image", "rockstat", "front", kind="service"),
            _container("director", "rockstat", "director", kind="core"),
            _container("alt-front", "alt", "front"),
            _container("somebody", "", ""),
        ]
    )
    assert [row["name"] for row in rows] == ["director", "front", "redis"]
    assert footprint.others == {"containers": 3}


def test_what_a_killed_restore_left_is_ours() -> None:
    """The container that was to fill a volume: without it gone, uninstall could not remove the volume."""
    left = _container("intelligent_joliot", "", "", ("rockstat-pyb-data",))
    labels = {"band.managed": "true", "band.kind": "base", "band.volume": "rockstat-pyb-data"}
    others = left | {"Config": {"Labels": labels | {"band.volume": "alt-front-data"}, "Image": "x"}}
    left["Config"] = {"Labels": labels, "Image": "x"}
    footprint = band_footprint.Footprint("rockstat", [])
    assert [row["name"] for row in footprint.containers([left, others])] == ["intelligent_joliot"]


def test_a_volume_is_ours_by_label_mount_or_the_name_of_a_service() -> None:
    """A name that merely looks like ours is somebody else's, and so is one with labels of his own."""
    footprint = band_footprint.Footprint("rockstat", [])
    ours = {"band.managed": "true", "band.namespace": "rockstat"}
    volumes = [
        {"Name": "labelled", "Labels": ours},
        {"Name": "mounted", "Labels": None},
        {"Name": "rockstat-redis-data", "Labels": None},
        {"Name": "rockstat-mmgeo-data", "Labels": None},
        {"Name": "rockstat-mmgeo-own", "Labels": {"owner": "somebody"}},
        {"Name": "rockstat-photos", "Labels": None},
    ]
    found = footprint.volumes(volumes, [{"volumes": ["mounted"]}], {"mmgeo"})
    assert found == ["labelled", "mounted", "rockstat-mmgeo-data", "rockstat-redis-data"]
    assert footprint.others == {"volumes": 2}


def _image(name: str, layers: str, labels: dict[str, str] | None = None, *more: str) -> dict[str, Any]:
    """Return what docker image inspect shows; layers are letters, and the image of no name has none."""
    tags = [f"{one}:1" for one in (name, *more)] if "/" in name else []
    rootfs = {"Layers": list(layers)}
    return {"Id": name, "Size": len(layers), "RepoTags": tags, "RootFS": rootfs, "Config": {"Labels": labels}}


BASE = {"band.managed": "true", "band.kind": "base"}
CORE = {"band.managed": "true", "band.kind": "core"}
SERVICE = {"band.managed": "true", "band.kind": "service", "band.service": "sxgeo", "band.namespace": "rockstat"}
NAMES = ["rockstat/rootfs", "rockstat/base", "rockstat/director", "rst/band:1"]


def test_an_engine_with_one_platform_is_left_without_images() -> None:
    """By namespace, by the names of the settings, and what lost its name; the largest first."""
    images = [
        _image("rockstat/rootfs", "a"), _image("rockstat/base", "ab", BASE), _image("nameless", "ac", BASE),
        _image("rockstat/director", "abde", CORE, "rst/band"), _image("rockstat/sxgeo", "abf", SERVICE),
        _image("renewed", "abg", {**SERVICE, "band.contents": "x"}),
    ]  # fmt: skip
    footprint = band_footprint.Footprint("rockstat", NAMES)
    somebody = {**_container("somebody", "", ""), "Image": "else"}
    for others in ([], [somebody]):
        rows = footprint.images(images, others)
        assert {row["id"] for row in rows} == {one["Id"] for one in images}
        assert [row["bytes"] for row in rows] == [4, 3, 3, 2, 2, 1]
        assert not any(row["in_use"] for row in rows)
        assert footprint.others["images"] == 0


def test_images_of_another_platform_stay() -> None:
    """Whatever its settings do not name is not listed; what both stand on is listed as in use."""
    images = [
        _image("rockstat/rootfs", "a", BASE), _image("rockstat/base", "ab", BASE),
        _image("brk/director", "abc", CORE), _image("rockstat/director", "abd", CORE, "rst/band"),
        _image("t-chaos/host", "abe", BASE), _image("nameless", "abf", CORE), _image("rockstat/sxgeo", "abg", SERVICE),
        _image("brk/sxgeo", "abh", {**SERVICE, "band.namespace": "brk"}),
    ]  # fmt: skip
    footprint = band_footprint.Footprint("brk", ["rockstat/rootfs", "rockstat/base", "brk/director"])
    theirs = {**_container("director", "rockstat", "director"), "Image": "rockstat/director"}
    rows = {row["id"]: row["in_use"] for row in footprint.images(images, [theirs])}
    assert rows == {"brk/director": False, "brk/sxgeo": False, "rockstat/base": True, "rockstat/rootfs": True}


def test_an_image_that_a_container_of_nobody_uses_stays() -> None:
    """With the ones that it is built on; under a name of somebody else's it is theirs without our name as well."""
    images = [
        _image("rockstat/rootfs", "a", None, "debian/trixie"), _image("rockstat/base", "ab", BASE),
        _image("rockstat/sxgeo", "abc", SERVICE), _image("rockstat/director", "abd", CORE),
    ]  # fmt: skip
    footprint = band_footprint.Footprint("rockstat", NAMES)
    shell = {**_container("shell", "", ""), "Image": "rockstat/sxgeo"}
    rows = {tuple(row["tags"]): row["in_use"] for row in footprint.images(images, [shell])}
    assert rows == {
        ("rockstat/rootfs:1",): False, ("rockstat/base:1",): True,
        ("rockstat/sxgeo:1",): True, ("rockstat/director:1",): False,
    }  # fmt: skip


def test_an_image_that_somebody_built_on_one_of_ours_is_theirs() -> None:
    """It has the labels of what it stands on; what we build on our own base says of itself what it is."""
    images = [
        _image("rockstat/rootfs", "a", BASE), _image("rockstat/base", "ab", BASE), _image("their/tool", "abc", BASE),
        _image("rockstat/sxgeo", "abd", SERVICE), _image("their/sxgeo", "abde", SERVICE),
        _image("rockstat/sxgeo-before", "abf", SERVICE), _image("their nameless one", "abcd", BASE),
    ]  # fmt: skip
    footprint = band_footprint.Footprint("rockstat", NAMES)
    found = {row["id"] for row in footprint.images(images, [])}
    assert found == {"rockstat/rootfs", "rockstat/base", "rockstat/sxgeo", "rockstat/sxgeo-before"}
    assert footprint.others == {"images": 3}


def test_the_record_of_packages_is_added_to_and_goes_when_it_is_empty(tmp_path: Path) -> None:
    """A record that was never written is empty; an empty one leaves no file."""
    path = str(tmp_path / "home" / "etc" / "packages.json")
    assert record.read(path, "packages") == {}
    band_packages.write_record(path, {"docker.io": "26"})
    assert record.read(path, "packages") == {"docker.io": "26"}
    assert (tmp_path / "home" / "etc").stat().st_mode & 0o777 == 0o700
    band_packages.write_record(path, {})
    assert not Path(path).exists()
