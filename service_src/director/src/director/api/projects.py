"""Parameters and responses of the endpoints about projects. All problems of a request are reported at once."""

from __future__ import annotations

import functools
import ipaddress
import re
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from director.api.params import Nothing
from director.errors import did_you_mean, shown_key
from director.state.projects import DEFAULT, MAX_KEYS, MAX_PROJECTS, Bots, Consent, Fields, KeyKind
from director.validation import PROJECT_PATTERN, explain

MAX_RATE = 1_000_000
MAX_BODY_BYTES = 100 * 1024 * 1024
_HINT = "docs/projects.md describes the fields"
_PUBLIC = re.compile(r"[A-Za-z0-9._-]{4,128}")
_SECRET = re.compile(r"[A-Za-z0-9._~+/=-]{20,128}")
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://((\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
)
_DEFAULT_PORTS = frozenset({("http", "80"), ("https", "443")})

Id = Annotated[str, Meta(pattern=PROJECT_PATTERN, description="id of a project")]
Rate = Annotated[int, Meta(ge=0, le=MAX_RATE, description="events; 0 is no limit")]


class ProjectParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project, and the fields to set; those that are not given stay as they are, or get their defaults."""

    hint: ClassVar[str] = _HINT
    id: Id
    public_keys: (
        Annotated[tuple[str, ...], Meta(max_length=MAX_KEYS, description="keys for browsers; anybody may see them")]
        | UnsetType
    ) = UNSET
    secret_keys: (
        Annotated[
            tuple[str, ...], Meta(max_length=MAX_KEYS, description="keys for servers, in clear; only hashes are kept")
        ]
        | UnsetType
    ) = UNSET
    origins: (
        Annotated[tuple[str, ...], Meta(max_length=100, description="sites that may send; empty: every site")]
        | UnsetType
    ) = UNSET
    events_per_second: Rate | UnsetType = UNSET
    burst: Rate | UnsetType = UNSET
    visitor_events_per_second: Rate | UnsetType = UNSET
    visitor_burst: Rate | UnsetType = UNSET
    body_limit: (
        Annotated[int, Meta(ge=0, le=MAX_BODY_BYTES, description="bytes of a request; 0: front's own limits")]
        | UnsetType
    ) = UNSET
    bots: Bots | UnsetType = UNSET
    project_ids: (
        Annotated[
            tuple[str | int, ...], Meta(max_length=100, description="values of projectId that belong to this project")
        ]
        | UnsetType
    ) = UNSET
    ignored_addresses: (
        Annotated[tuple[str, ...], Meta(max_length=1000, description="addresses whose visits are not stored")]
        | UnsetType
    ) = UNSET
    consent: Consent | UnsetType = UNSET
    timezone: Annotated[str, Meta(description="time zone, as in Europe/Berlin")] | UnsetType = UNSET

    def fields(self) -> Fields:
        """Return the fields that are given."""
        found = {name: getattr(self, name) for name in self.__struct_fields__ if name != "id"}
        if self.project_ids is not UNSET:
            found["project_ids"] = tuple(map(str, self.project_ids))
        return {name: value for name, value in found.items() if value is not UNSET}

    @staticmethod
    def problems(given: Mapping[str, Any]) -> Iterator[str]:
        """Yield everything that is wrong with values of these names, without any of a key."""
        if "id" not in given:
            yield "'id' is missing"
        for name, value in given.items():
            if name not in ProjectParams.__struct_fields__:
                yield f"{shown_key(name)} is unknown; {did_you_mean(name, ProjectParams.__struct_fields__)}".rstrip(
                    "; "
                )
                continue
            try:
                msgspec.convert({"id": DEFAULT, name: value}, ProjectParams, strict=False)
            except msgspec.ValidationError as error:
                yield explain(str(error))
            else:
                yield from (f"{name}: {problem}" for problem in _value_problems(name, value))


class ProjectIdParams(Nothing, frozen=True):
    """The project that the request is about."""

    id: Id


class KeyParams(ProjectIdParams, frozen=True):
    """The project, and which kind of key to add, or which key to remove: itself, or a secret one's fingerprint."""

    kind: KeyKind | UnsetType = UNSET
    remove: Annotated[str, Meta(max_length=128)] | UnsetType = UNSET


class ApplyParams(Nothing, frozen=True):
    """All projects of an inventory. With `dry_run` nothing is changed: the response says what would be."""

    hint: ClassVar[str] = _HINT
    projects: Annotated[tuple[ProjectParams, ...], Meta(max_length=MAX_PROJECTS)]
    dry_run: bool = False

    @staticmethod
    def problems(given: Mapping[str, Any]) -> Iterator[str]:
        """Yield everything that is wrong with any of the projects, each with the project's id or place."""
        if "projects" not in given:
            yield "'projects' is missing"
        rows = given.get("projects")
        ids: set[Any] = set()
        for number, row in enumerate(rows if isinstance(rows, list) else ()):
            if not isinstance(row, dict):
                yield f"projects[{number}]: must be an object"
                continue
            project_id = row.get("id")
            place = project_id if isinstance(project_id, str) and project_id else f"projects[{number}]"
            yield from (f"{place[:80]}: {problem}" for problem in ProjectParams.problems(row))
            if isinstance(project_id, str) and project_id in ids:
                yield f"{place[:80]}: is listed twice"
            ids.add(project_id if isinstance(project_id, str) else number)


class NewKey(msgspec.Struct, frozen=True):
    """A generated key. A secret one is shown here once and never again."""

    id: str
    kind: KeyKind
    key: str


class RemovedProject(msgspec.Struct, frozen=True):
    """A project that is no more; of `default`, only its settings and keys."""

    id: str
    state: Literal["removed"] = "removed"


def _value_problems(name: str, value: Any) -> Iterator[str]:
    if name == "timezone" and (problem := _timezone_problem(value)):
        yield problem
    if name in _ITEMS:
        for number, item in enumerate(value):
            if problem := _ITEMS[name](str(item)):
                yield f"{problem} (number {number + 1})" if name in {"public_keys", "secret_keys"} else problem
        if len(set(map(str, value))) < len(value):
            yield "has an entry twice"


def _timezone_problem(name: str) -> str:
    if name in _time_zones():
        return ""
    near = did_you_mean(name[:80], _time_zones()).strip() or "write one as in 'Europe/Berlin' or 'UTC'"
    return f"{name[:80]!r} is not a time zone; {near}"


@functools.cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _origin_problem(text: str) -> str:
    if text == "*":
        return "'*' is not an origin; leave `origins` empty to accept every origin"
    match = _ORIGIN.fullmatch(text)
    if match and (match["scheme"], match["port"]) in _DEFAULT_PORTS:
        return f"{text[:80]!r} has the default port, which browsers leave out; write {text.rpartition(':')[0]!r}"
    if match and len(text) <= 255 and int(match["port"] or 1) <= 65535:
        return ""
    meant = "/".join(text.strip().lower().split("/")[:3])
    meant = meant if "://" in meant else f"https://{meant.partition('/')[0]}"
    hint = f"did you mean {meant!r}?" if _ORIGIN.fullmatch(meant) else "write it as in 'https://shop.example'"
    return f"{text[:80]!r} is not an origin (scheme://host, in lower case, without a path); {hint}"


def _network_problem(text: str) -> str:
    try:
        if ipaddress.ip_network(text).prefixlen == 0:
            return f"{text!r} is every address: no event would be stored"
    except ValueError:
        try:
            meant = ipaddress.ip_network(text, strict=False)
        except ValueError:
            return f"{text[:80]!r} is not an address or a network, as in '203.0.113.7' or '203.0.113.0/24'"
        return f"{text[:80]!r} is an address inside of a network; did you mean {str(meant)!r}?"
    return ""


def _public_key_problem(text: str) -> str:
    if text.startswith("sk_"):
        return "a key that begins with sk_ is a secret key; everybody can see a public one"
    return "" if _PUBLIC.fullmatch(text) else "a public key has 4 to 128 letters, digits and ._-"


def _secret_key_problem(text: str) -> str:
    if text.startswith("pk_"):
        return "a key that begins with pk_ is a public key; everybody may know it"
    return "" if _SECRET.fullmatch(text) else "a secret key has 20 to 128 letters, digits and ._~+/=-"


def _project_id_problem(text: str) -> str:
    return "" if _NUMBER.fullmatch(text) else f"{text[:80]!r} is not a projectId: a whole number, as in 7"


_ITEMS: dict[str, Callable[[str], str]] = {
    "origins": _origin_problem,
    "ignored_addresses": _network_problem,
    "public_keys": _public_key_problem,
    "secret_keys": _secret_key_problem,
    "project_ids": _project_id_problem,
}
