"""All projects, compiled: a key finds its project in a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from band import logger
from front.event.message import DEFAULT_PROJECT
from front.projects.project import MAX_KEY_LENGTH, Project, Rate, Stored, read_project

MAX_PROJECTS: Final = 10_000
UNUSABLE_HINT: Final = "write it again: `band project show` and `band project set`"


class Access(NamedTuple):
    """What a key opens."""

    project: Project
    account: str
    """What its events are counted under: the key (of a secret one, its hash), or the project for those without."""
    secret: bool = False
    """Whether it is a server's: it may set time, address and any uid."""


OPEN: Final = Access(Project(DEFAULT_PROJECT), f"project {DEFAULT_PROJECT}")
"""What everybody has while there are no projects."""


class ProjectTable:
    """One state of the projects; replaced as a whole."""

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        """Compile documents by id. One that cannot be read spoils only itself."""
        self.unusable: dict[str, str] = {}
        self._of_key: dict[str, Access] = {}
        self._of_hash: dict[str, Access] = {}
        self._of_project_id: dict[str, Access] = {}
        projects = self._read(documents)
        self.projects: dict[str, Project] = {found.project.id: found.project for found in projects}
        default = self.projects.setdefault(DEFAULT_PROJECT, OPEN.project)
        self._keyless = Access(default, f"project {DEFAULT_PROJECT}")
        for project, public_keys, hashes, project_ids in projects:
            self._of_key |= {key: Access(project, f"key {key}") for key in public_keys}
            self._of_hash |= {digest: Access(project, f"key {digest}", secret=True) for digest in hashes}
            keyless = Access(project, f"project {project.id}")
            self._of_project_id |= dict.fromkeys(project_ids, keyless)
        self.keyed = bool(self._of_key or self._of_hash or self.unusable)
        """Whether any project has keys; an unreadable one is taken to have some, so that it opens no door."""
        self.plain = not self.keyed and not self._of_project_id and default == OPEN.project
        """Whether everything is as without projects."""
        self.limited = any(project.rate or project.visitor_rate for project in self.projects.values())
        """Whether any project has a limit."""
        self.bots = {project.id: project.bots for project in self.projects.values() if project.bots != "mark"}
        """Project -> what becomes of its bots, if it is not just marked."""

    def _read(self, documents: Mapping[str, bytes]) -> list[Stored]:
        found: list[Stored] = []
        for name, raw in sorted(documents.items())[:MAX_PROJECTS]:
            try:
                found.append(read_project(name, raw))
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others count
                self.unusable[name] = str(error)[:200]
                logger.warning("project_unusable", project=name, reason=self.unusable[name], hint=UNUSABLE_HINT)
        return found

    def with_key(self, key: str) -> Access | None:
        """Return what a key opens; None when nobody has it. Without any keys, each opens the project `default`."""
        if not self.keyed:
            return self._keyless
        return self._of_key.get(key) or (self._with_secret(key) if self._of_hash else None)

    def without_key(self, project_id: str) -> Access:
        """Return what a request without a key may do: that of the project which lists its `projectId`."""
        return self._of_project_id.get(project_id, self._keyless)

    @property
    def by_project_id(self) -> bool:
        """Whether a project lists values of `projectId`."""
        return bool(self._of_project_id)

    def rates(self) -> dict[str, Rate]:
        """Return the limits by account: each key has its own."""
        everybody = (self._keyless, *self._of_project_id.values(), *self._of_key.values(), *self._of_hash.values())
        return {access.account: access.project.rate for access in everybody if access.project.rate is not None}

    def admits_pages_of(self, origin: str) -> bool:
        """Return whether any project admits pages of an origin."""
        return any(project.origins is None or project.origins.admits(origin) for project in self.projects.values())

    def _with_secret(self, key: str) -> Access | None:
        if len(key) > MAX_KEY_LENGTH:
            return None
        # Looked up by hash, so that the time that it takes tells nothing of a key that is stored.
        return self._of_hash.get(sha256(key.encode("utf-8", "replace")).hexdigest())


NO_PROJECTS: Final = ProjectTable({})
