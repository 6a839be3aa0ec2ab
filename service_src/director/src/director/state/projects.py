"""Projects: who may send events, with which keys, from which origins and how many.

They are kept where front reads them; Redis itself tells front of each change. Of a secret key only its hash is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from band import logger
from band.platform import PROJECTS_KEY
from director.errors import Conflict, InvalidValue, NotFound, did_you_mean
from director.state.store import RedisHash, Store

DEFAULT = "default"
"""The project of events without a key. It always exists; it is stored only once it was changed."""
MAX_PROJECTS = 1000
MAX_KEYS = 2
"""Keys of a kind in one project: the one in use, and during a rotation the next one."""
KEY_BYTES = 24
"""Random bytes of a generated key."""
FINGERPRINT = "sha256:"
KeyKind = Literal["public", "secret"]
Bots = Literal["mark", "aside", "drop"]
Consent = Literal["off", "opt-out", "opt-in", "cookieless"]
Fields = Mapping[str, Any]
"""Some fields of a project with their new values; `secret_keys` are in clear."""


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project. Rates are in events per second, `body_limit` in bytes; 0 is no limit.

    `secret_keys` are SHA-256 hashes in Redis, and in responses only the beginnings of them. `inventory`: the project
    came from the inventory, and leaves with it.
    """

    id: str
    public_keys: tuple[str, ...] = ()
    secret_keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    events_per_second: int = 0
    burst: int = 0
    visitor_events_per_second: int = 0
    visitor_burst: int = 0
    body_limit: int = 0
    bots: Bots = "mark"
    project_ids: tuple[str, ...] = ()
    ignored_addresses: tuple[str, ...] = ()
    consent: Consent = "off"
    timezone: str = "UTC"
    inventory: bool = False

    def shown(self) -> Project:
        """Return the project without its hashes."""
        return msgspec.structs.replace(self, secret_keys=tuple(map(fingerprint, self.secret_keys)))


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of projects changed, or with `dry_run` would change: ids by what became of them."""

    created: list[str] = []
    changed: list[str] = []
    removed: list[str] = []
    unchanged: list[str] = []
    dry_run: bool = False


def hash_of(key: str) -> str:
    """Return a key's hash as front computes it."""
    return hashlib.sha256(key.encode()).hexdigest()


def fingerprint(hashed: str) -> str:
    """Return what a secret key is called once nobody can see it any more: the beginning of its hash."""
    return f"{FINGERPRINT}{hashed[:8]}"


def new_key(kind: KeyKind) -> str:
    """Return a random key that is safe in a URL: `pk_…` or `sk_…`."""
    return f"{kind[0]}k_{secrets.token_urlsafe(KEY_BYTES)}"


class Projects(RedisHash[Project]):
    """The hash of projects. Each method reads it first: a restored backup counts at once.

    All raise RedisUnavailable while Redis is unavailable.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store, PROJECTS_KEY, Project, lambda name, project: project.id == name)
        self._turn = asyncio.Lock()

    async def listed(self) -> list[Project]:
        """Return all projects by id, `default` first."""
        found = {DEFAULT: Project(id=DEFAULT), **await self.read()}
        return sorted(found.values(), key=lambda project: (project.id != DEFAULT, project.id))

    async def one(self, project_id: str) -> Project:
        """Return a project; raises NotFound."""
        return _find({project.id: project for project in await self.listed()}, project_id)

    async def change(self, project_id: str, given: Fields) -> tuple[Project, bool]:
        """Create a project or change some of its fields; returns it, and whether it is new.

        Raises:
            InvalidValue: the fields do not fit together.
            Conflict: a key or a `projectId` belongs to another project, or there are too many projects.
        """
        async with self._turn:
            known = await self._load()
            before = known.get(project_id)
            after = _changed(before or Project(id=project_id), given)
            _check({**known, project_id: after})
            await self._put(known, after)
        return after, before is None

    async def apply(self, wanted: Mapping[str, Fields], *, dry_run: bool) -> Applied:
        """Make these the projects of the inventory: fields that are not given get their defaults, keys stay.

        Projects that came from the inventory and are not among them are removed; all others stay as they are. Raises as
        `change` does.
        """
        async with self._turn:
            known = await self._load()
            after = {name: _from_inventory(known.get(name), name, given) for name, given in wanted.items()}
            gone = [name for name, project in known.items() if project.inventory and name not in after]
            _check({name: project for name, project in {**known, **after}.items() if name not in gone})
            changed = [name for name in after if name in known and after[name] != known[name]]
            created = [name for name in after if name not in known]
            if not dry_run:
                await self._put(known, *(after[name] for name in [*created, *changed]))
                await self._drop(*gone)
        unchanged = [name for name in after if name not in {*created, *changed}]
        return Applied(created=created, changed=changed, removed=gone, unchanged=unchanged, dry_run=dry_run)

    async def add_key(self, project_id: str, kind: KeyKind) -> str:
        """Generate one more key and return it; raises NotFound, and Conflict if there are two already."""
        async with self._turn:
            known = await self._load()
            before = _find(known, project_id)
            key, field = new_key(kind), f"{kind}_keys"
            kept = getattr(before, field)
            if len(kept) >= MAX_KEYS:
                raise Conflict(
                    f"project {project_id} has {len(kept)} {kind} keys already",
                    f"remove the one that is no longer used: POST /projects/{project_id}/keys with `remove`",
                )
            stored = key if kind == "public" else hash_of(key)
            await self._put(known, msgspec.structs.replace(before, **{field: (*kept, stored)}))
        return key

    async def remove_key(self, project_id: str, key: str) -> Project:
        """End a key, public or secret, or the secret one with this fingerprint; raises NotFound and Conflict."""
        async with self._turn:
            known = await self._load()
            before = _find(known, project_id)
            secret = {word: kept for kept in before.secret_keys for word in (kept, fingerprint(kept))}
            gone = {key, hash_of(key), secret.get(key, "")}
            after = msgspec.structs.replace(
                before,
                public_keys=tuple(kept for kept in before.public_keys if kept not in gone),
                secret_keys=tuple(kept for kept in before.secret_keys if kept not in gone),
            )
            if after == before:
                raise NotFound(
                    f"project {project_id} has no such key",
                    f"name a public key, a secret key, or a secret one's fingerprint: GET /projects/{project_id}",
                )
            if before.public_keys and not after.public_keys and project_id != DEFAULT:
                raise Conflict(
                    f"that is the only public key of project {project_id}",
                    f'add its successor first: POST /projects/{project_id}/keys with {{"kind": "public"}}',
                )
            await self._put(known, after)
        return after

    async def remove(self, project_id: str) -> None:
        """Remove a project with its keys; of `default`, its settings and keys. Raises NotFound."""
        async with self._turn:
            _find(await self._load(), project_id)
            await self._drop(project_id)

    async def _load(self) -> dict[str, Project]:
        await self.load()
        return {DEFAULT: Project(id=DEFAULT), **self.all()}

    async def _put(self, known: Mapping[str, Project], *projects: Project) -> None:
        """Write the projects that differ from the known ones, in one step: front reads all of them once."""
        changed = [project for project in projects if project != known.get(project.id)]
        await self.write_all({project.id: project for project in changed})
        for project in changed:
            before = known.get(project.id)
            fields = [
                name for name in project.__struct_fields__ if getattr(before, name, None) != getattr(project, name)
            ]
            logger.info("project_changed" if before else "project_created", project=project.id, fields=fields)

    async def _drop(self, *project_ids: str) -> None:
        await self.forget(*project_ids)
        for project_id in project_ids:
            logger.info("project_removed", project=project_id)


def _find(known: Mapping[str, Project], project_id: str) -> Project:
    found = known.get(project_id)
    if found is None:
        hint = did_you_mean(project_id, known) + "GET /projects lists the projects"
        raise NotFound(f"there is no project {project_id!r}", hint)
    return found


def _changed(before: Project, given: Fields) -> Project:
    hashed = {"secret_keys": tuple(map(hash_of, given["secret_keys"]))} if "secret_keys" in given else {}
    after = msgspec.structs.replace(before, **{**given, **hashed})
    if after.id != DEFAULT and not after.public_keys and "public_keys" not in given:
        return msgspec.structs.replace(after, public_keys=(new_key("public"),))
    return after


def _from_inventory(before: Project | None, project_id: str, given: Fields) -> Project:
    kept = before or Project(id=project_id)
    keys = Project(id=project_id, public_keys=kept.public_keys, secret_keys=kept.secret_keys, inventory=True)
    return _changed(keys, given)


def _check(projects: Mapping[str, Project]) -> None:
    """Raise if projects do not fit together; says everything at once."""
    if wrong := [problem for project in projects.values() for problem in _misfits(project)]:
        raise InvalidValue("; ".join(wrong), "docs/projects.md describes the fields")
    if len(projects) > MAX_PROJECTS:
        raise Conflict(f"that would make {len(projects)} projects", f"have at most {MAX_PROJECTS}")
    keys = ((project.id, _hashes(project)) for project in projects.values())
    ids = ((project.id, project.project_ids) for project in projects.values())
    if taken := [*_taken(keys, "a key"), *_taken(ids, "a value of project_ids")]:
        raise Conflict("; ".join(taken), "each belongs to one project only, and a key is either public or secret")


def _misfits(project: Project) -> Iterator[str]:
    if project.id != DEFAULT and not project.public_keys:
        yield f"{project.id}: public_keys: a project needs one; leave the field out to get a generated one"
    for burst, rate in (("burst", "events_per_second"), ("visitor_burst", "visitor_events_per_second")):
        if getattr(project, burst) and not getattr(project, rate):
            yield f"{project.id}: {burst}: has no effect without {rate}"


def _hashes(project: Project) -> tuple[str, ...]:
    return (*map(hash_of, project.public_keys), *project.secret_keys)


def _taken(rows: Iterable[tuple[str, tuple[str, ...]]], what: str) -> Iterator[str]:
    owners: dict[str, str] = {}
    for project_id, values in rows:
        for value in values:
            owner = owners.setdefault(value, project_id)
            if owner != project_id:
                yield f"{what} of project {project_id} is also one of project {owner}"
        if len(set(values)) < len(values):
            yield f"{what} of project {project_id} is listed twice"
