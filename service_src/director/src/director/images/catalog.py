"""The image folders on disk: which services can be run, from which collection, with which defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import msgspec
import yaml

from director.errors import InvalidValue, NotFound, did_you_mean
from director.state.desired import (
    PYTHON_CHECK,
    RESERVED,
    TYPESCRIPT_CHECK,
    HealthCheck,
    Limits,
    Port,
    Pos,
    RedisKey,
    StopTimeout,
    check_env,
    check_limits,
    check_name,
)
from director.validation import NAME_PATTERN, POS_PATTERN, explain

_is_dir, _is_file = os.path.isdir, os.path.isfile  # False for what may not be looked into, where Path raises

BUILTIN = "builtin"
ORIGINAL_BASE = "base_original"
"""The image folder that folders without band.yml are based on: the libraries of the original's base image."""
TYPESCRIPT_BASE = "base_ts"
"""The image folder that services in TypeScript are based on: Node.js and the package @rockstat/rock-me-ts."""
TYPESCRIPT_BUILD_BASE = "base_ts_build"
"""The image folder that folders in TypeScript without band.yml are based on: that one, with a compiler."""
BASE_PLACEHOLDER = "{band-base-py-image}"
TYPESCRIPT_PLACEHOLDER = "{band-base-ts-image}"
_PLACEHOLDERS = (BASE_PLACEHOLDER, TYPESCRIPT_PLACEHOLDER)
_STRANGE_BASE = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\{band-[^}\s]*\}?)", re.MULTILINE | re.IGNORECASE)
_BASE_ARG = re.compile(r"^\s*ARG\s+BASE_CONTAINER\b(?P<default>.*)", re.MULTILINE | re.IGNORECASE)
_SOURCES = {TYPESCRIPT_BASE: "rock_me_ts"}
"""Folders of `service_src` that are not called as their image folder is."""
_LABEL = re.compile(
    r"""band\.service\.(?P<key>title|def_position|version)"?\s*=\s*(?P<value>"[^"\n]*"|'[^'\n]*'|[^\s\\]+)"""
)


class _Loader(yaml.SafeLoader):
    """Reads YAML, with `0x3` as a place on the grid instead of a hexadecimal number."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way
        first: [("tag:yaml.org,2002:str", re.compile(r"[0-9]{1,2}x[0-9]{1,2}\Z")), *rules]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class BandYml(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file `band.yml` of an image folder; every key is optional."""

    title: str | None = None
    pos: Pos | None = None
    role: str | None = None
    env: dict[str, Any] = {}
    secrets: list[str] = []
    ports: dict[str, Port] = {}
    volumes: dict[str, str] = {}
    limits: Limits = Limits()
    read_only: bool = True
    user: str | None = "10001:10001"
    health: HealthCheck | bool | None = None
    stop_timeout: StopTimeout = 10.0
    watch: Annotated[float, msgspec.Meta(ge=0, le=3600)] | None = None
    redis_keys: list[RedisKey] = []
    redis_events: Literal["none", "read", "listen"] = "listen"


MAX_TEXT_BYTES: Final = 64 * 1024
"""Of a Dockerfile, a band.yml, a meta.yml or a .dockerignore."""

ORIGINAL = BandYml(read_only=False, redis_keys=["*"])
ORIGINAL_FOREIGN = BandYml(read_only=False, redis_keys=["*"], user=None)
"""Folders of the original platform have no band.yml: they may write to their working directory and use any Redis key
except the platform's; those not based on our image run as the user in their Dockerfile. Capabilities, privileges,
memory and processes are limited for them too."""


class ImageFolder(msgspec.Struct, frozen=True, kw_only=True):
    """One folder. `problem` says why it cannot be run: an invalid band.yml, or (`incomplete`) not an image folder."""

    name: str
    path: Path
    collection: str
    band: BandYml
    title: str
    pos: str | None
    uses_base: bool
    typescript: bool = False
    source: Path | None = None
    has_band_yml: bool = False
    problem: str = ""
    incomplete: bool = False

    @property
    def stands_on(self) -> str:
        """The image folder that it is based on; empty for the plain base image and for images that are not ours."""
        if not (self.uses_base and (self.runnable or self.name == TYPESCRIPT_BUILD_BASE)):
            return ""
        if self.typescript:
            return TYPESCRIPT_BASE if self.has_band_yml or not self.runnable else TYPESCRIPT_BUILD_BASE
        return "" if self.has_band_yml else ORIGINAL_BASE

    @property
    def runnable(self) -> bool:
        """Whether this is a service, and not an image of the platform itself."""
        return self.name not in RESERVED

    def health(self) -> HealthCheck | None:
        """Return the health check: that of band.yml, else the framework's own for images based on ours."""
        if self.band.health is False or not (self.uses_base or isinstance(self.band.health, HealthCheck)):
            return None
        check = self.band.health if isinstance(self.band.health, HealthCheck) else HealthCheck()
        if self.typescript and tuple(check.command) == PYTHON_CHECK:
            return msgspec.structs.replace(check, command=[*TYPESCRIPT_CHECK])
        return check


class Catalog:
    """The collections, in order of precedence: `user`, others by name, `node`, built-in."""

    def __init__(
        self,
        images: Path | None,
        builtin: Path | None,
        sources: Sequence[Path] = (),
        mounts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._images = images
        self._builtin = builtin
        self._sources = tuple(sources)
        self._mounts = mounts

    def collections(self) -> list[tuple[str, Path]]:
        """Return (name, folder) of each collection, in order of precedence."""
        found: list[tuple[str, Path]] = []
        if self._images is not None:
            folders = (path for path in _listdir(self._images) if _is_dir(path) and _visible(path))
            found = sorted(((path.name, path) for path in folders), key=lambda item: (_rank(item[0]), item[0]))
        if self._builtin is not None:
            found.append((BUILTIN, self._builtin))
        return found

    def names(self) -> set[str]:
        return {path.name for _, folder in self.collections() for path in _listdir(folder) if _is_image_folder(path)}

    def host_path(self, path: Path) -> Path:
        """Return a path as the operator sees it: on the host, if it is mounted into the director's container."""
        inside = next((place for place in (path, *path.parents) if str(place) in self._mounts), None)
        return path if inside is None else Path(self._mounts[str(inside)]) / path.relative_to(inside)

    def images(self) -> list[ImageFolder]:
        """Return one image folder per name, sorted by name; invalid ones are included with their `problem`."""
        chosen: dict[str, ImageFolder] = {}
        for collection, folder in self.collections():
            for path in _listdir(folder):
                if _is_image_folder(path) and (path.name not in chosen or chosen[path.name].incomplete):
                    chosen[path.name] = self._read(path, collection)
                elif path.name not in chosen and _visible(path) and _is_dir(path):
                    chosen[path.name] = _incomplete(path, collection)
        return [chosen[name] for name in sorted(chosen)]

    def find(self, name: str) -> ImageFolder | None:
        """Return the image folder of a name, or None; raise InvalidValue for an invalid name."""
        check_name(name)
        incomplete: ImageFolder | None = None
        for collection, folder in self.collections():
            if _is_image_folder(folder / name):
                return self._read(folder / name, collection)
            if incomplete is None and _is_dir(folder / name):
                incomplete = _incomplete(folder / name, collection)
        return incomplete

    def get(self, name: str) -> ImageFolder:
        """Return the image folder of a name.

        Raises:
            InvalidValue: the name, or the folder's band.yml, is invalid.
            NotFound: no collection has it.
        """
        folder = self.find(name)
        if folder is None:
            hint = f"{did_you_mean(name, self.names())}GET /list_images lists the image folders"
            raise NotFound(f"there is no image folder {name!r}", hint, service=name)
        if folder.problem:
            place = self.host_path(folder.path)
            there = f"look at {place}" if "read" in folder.problem else "give it one"
            wrong = "Dockerfile" if folder.problem.startswith("its Dockerfile") else "band.yml"
            what = there if folder.incomplete else f"correct {place / wrong}"
            raise InvalidValue(f"image folder {name}: {folder.problem}", what)
        return folder

    def _read(self, path: Path, collection: str) -> ImageFolder:
        try:
            dockerfile = read_small(path / "Dockerfile", errors="replace")
        except OSError as error:
            return _incomplete(path, collection, f"its Dockerfile cannot be read: {error.strerror}")
        except InvalidValue as error:
            return _incomplete(path, collection, f"its {error}")
        labels = {match["key"]: match["value"].strip("\"'") for match in _LABEL.finditer(dockerfile)}
        meta = _read_meta(path)
        has_band_yml = _is_file(path / "band.yml")
        argument = _BASE_ARG.search(dockerfile)
        typescript = TYPESCRIPT_PLACEHOLDER in dockerfile or bool(argument and "band-base-ts" in argument["default"])
        uses_base = typescript or BASE_PLACEHOLDER in dockerfile or argument is not None
        original = ORIGINAL if uses_base else ORIGINAL_FOREIGN
        band, problem = _read_band_yml(path / "band.yml") if has_band_yml else (original, "")
        problem = problem or _base_problem(dockerfile)
        pos = band.pos or _pos(meta.get("pos")) or _pos(labels.get("def_position"))
        return ImageFolder(
            name=path.name,
            path=path,
            collection=collection,
            band=band,
            title=str(band.title or meta.get("title") or labels.get("title") or path.name),
            pos=pos,
            uses_base=uses_base,
            typescript=typescript,
            source=self._source(path.name, collection),
            has_band_yml=has_band_yml,
            problem=problem,
        )

    def _source(self, name: str, collection: str) -> Path | None:
        # `service_src` belongs to the built-in collection: an operator's folder of the same name brings its own code.
        if collection != BUILTIN:
            return None
        folders = [root / _SOURCES.get(name, name) for root in self._sources]
        manifests = ("pyproject.toml", "package.json")
        return next((path for path in folders if any((path / each).is_file() for each in manifests)), None)


def _base_problem(dockerfile: str) -> str:
    """Return the problem with placeholders in FROM: Docker would only report an invalid reference."""
    found: list[str] = _STRANGE_BASE.findall(dockerfile)
    strange = next((each for each in found if each not in _PLACEHOLDERS), None)
    if strange:
        return f"its Dockerfile begins FROM {strange[:60]}; the only placeholders are {' and '.join(_PLACEHOLDERS)}"
    both = len(set(found)) > 1
    return f"its Dockerfile names both {' and '.join(_PLACEHOLDERS)}; a folder has one base image" if both else ""


def _rank(collection: str) -> int:
    return {"user": 0, "node": 2}.get(collection, 1)


def _visible(path: Path) -> bool:
    return not path.name.startswith(("__", ".")) and is_utf8(path.name)


def is_utf8(text: str) -> bool:
    """Return whether a text can be written: a name on the disk, or an escape in YAML, may be half a character."""
    return text.isascii() or text == text.encode("utf-8", "replace").decode()


def read_small(path: Path, errors: str = "strict") -> str:
    """Return the text of a file that is read for each list of the folders.

    Raises:
        OSError: it cannot be read.
        UnicodeError: it is not UTF-8.
        InvalidValue: it is too large: reading it would stop the director for as long.
    """
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise InvalidValue(f"{path.name} is larger than {MAX_TEXT_BYTES >> 10} KiB", "make it smaller")
    return path.read_text(encoding="utf-8", errors=errors)


def _listdir(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_image_folder(path: Path) -> bool:
    return bool(re.fullmatch(NAME_PATTERN, path.name)) and _is_file(path / "Dockerfile")


def _incomplete(path: Path, collection: str, problem: str = "") -> ImageFolder:
    """Return a folder that is not an image folder, with the reason: people look for it in the list."""
    if not re.fullmatch(NAME_PATTERN, path.name):
        problem = "its name is not valid for a service: use a-z, 0-9, _ and -, beginning with a letter"
    elif not os.access(path, os.R_OK | os.X_OK):
        problem = "the director may not read it"
    problem = problem or "there is no Dockerfile in it"
    return ImageFolder(
        name=path.name,
        path=path,
        collection=collection,
        band=BandYml(),
        title=path.name,
        pos=None,
        uses_base=False,
        problem=problem,
        incomplete=True,
    )


def _read_band_yml(path: Path) -> tuple[BandYml, str]:
    try:
        data = yaml.load(read_small(path), _Loader) or {}  # noqa: S506 - a safe loader
        band = msgspec.convert(data, BandYml, strict=False)
        msgspec.json.encode(band)
        check_env(band.env)
        check_limits(band.limits)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return BandYml(), f"band.yml{f' line {mark.line + 1}' if mark else ''}: not valid YAML"
    except msgspec.ValidationError as error:
        return BandYml(), f"band.yml: {explain(str(error))}"
    except OSError as error:
        return BandYml(), f"band.yml cannot be read: {error.strerror}"
    except UnicodeError:
        return BandYml(), "band.yml: not UTF-8, or an escape in it is half a character"
    except (InvalidValue, ValueError, RecursionError) as error:  # a date such as 2026-02-30 is a ValueError of YAML
        return BandYml(), f"band.yml: {error}"
    return band, ""


def _read_meta(path: Path) -> dict[str, Any]:
    """Read the original's `meta.yml` (`pos`, `title`); a broken one is as if there were none."""
    if not _is_file(path / "meta.yml"):
        return {}
    try:
        data = yaml.load(read_small(path / "meta.yml"), _Loader)  # noqa: S506 - a safe loader
    except (OSError, ValueError, InvalidValue, RecursionError, yaml.YAMLError):
        return {}
    return data if isinstance(data, dict) and is_utf8(str(data.get("title"))) else {}


def _pos(value: Any) -> str | None:
    """Return a position as `2x3`, from that or from the original's `{col: 2, row: 3}`."""
    if isinstance(value, dict):
        value = f"{value.get('col')}x{value.get('row')}"
    return value if isinstance(value, str) and re.fullmatch(POS_PATTERN, value) else None
