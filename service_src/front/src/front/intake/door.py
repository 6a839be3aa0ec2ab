"""Who may send events: the project of a request, the pages that it accepts, and its limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from front.errors import NotAdmitted
from front.event.client_address import ClientAddresses
from front.http1.request import text_of
from front.metrics import Counters
from front.projects.limits import RateLimits
from front.projects.table import NO_PROJECTS, Access, ProjectTable

_NO_KEY: Final = "this front accepts events only with a write key; docs/projects.md says where to put it"
_UNKNOWN: Final = "no project has this write key"
_LEAKED: Final = (
    "a browser sent a secret key, so anybody can read it there: rotate it, and use a public key in web pages"
)


class Door:
    """Admits requests by the current projects."""

    def __init__(
        self, addresses: ClientAddresses, counters: Counters, limits: RateLimits, *, require_key: bool
    ) -> None:
        self._addresses = addresses
        self._counters = counters
        self._limits = limits
        self._require_key = require_key
        self._table = NO_PROJECTS
        self.guarded = require_key
        """Whether there is anything to check."""

    def use(self, table: ProjectTable) -> None:
        """Admit by a new table from now on."""
        self._table = table
        self._limits.use(table)
        self.guarded = self._require_key or not table.plain

    def enter(self, headers: Mapping[bytes, bytes], key: str, project_id: str = "") -> Access:
        """Return what a key opens, or without one the `projectId` of an event.

        Raises:
            NotAdmitted: nobody has this key, one is required, or the page that sends it may not.
        """
        table = self._table
        if not key:
            if self._require_key:
                raise NotAdmitted("no_key", _NO_KEY)
            access = table.without_key(project_id)
        else:
            found = table.with_key(key)
            if found is None or (self._require_key and not table.keyed):
                raise NotAdmitted("unknown_key", _UNKNOWN)
            access = found
        origin = headers.get(b"origin")
        if access.secret and (origin is not None or b"sec-fetch-site" in headers):
            raise NotAdmitted("secret_key_in_browser", _LEAKED)
        origins = access.project.origins
        if origins is not None and origin is not None and not origins.admits(text_of(origin).lower()):
            raise NotAdmitted("origin", f"the project {access.project.id} does not accept events from this site")
        return access

    def ask(self, origin: str | None, key: str) -> None:
        """Raise NotAdmitted unless a page of an origin may send: to the key's project, or without one to any."""
        access = self._table.with_key(key) if key else None
        origins = None if access is None else access.project.origins
        admits = origins.admits if origins is not None else self._table.admits_pages_of
        if self.guarded and origin is not None and not admits(origin.lower()):
            raise NotAdmitted("origin", "no project accepts events from this site with such a key")

    def body_limit(self, key: str) -> int:
        """Return how many bytes a request with a key may have; 0 if its project does not say."""
        access = self._table.with_key(key) if key else None
        return 0 if access is None else access.project.body_limit

    def admit(self, access: Access, address: str, count: int) -> None:
        """Count events of a visitor's address. Raises RateLimited if they may not come now."""
        project = access.project
        if project.rate is not None or project.visitor_rate is not None:
            self._limits.take(access, self._counted(access, address), count)

    def give_back(self, access: Access, address: str, count: int) -> None:
        """Undo `admit`."""
        project = access.project
        if project.rate is not None or project.visitor_rate is not None:
            self._limits.give_back(access, self._counted(access, address), count)

    def ignores(self, access: Access, address: str, count: int = 1) -> bool:
        """Return whether events of an address are not stored, and count them."""
        if not access.project.ignored or not access.project.ignores(address):
            return False
        self._counters.add("left_out", "ignored_address", count=count)
        return True

    def _counted(self, access: Access, address: str) -> str:
        """Return what the address is counted under; empty with a secret key: a server sends for many visitors."""
        if access.secret or access.project.visitor_rate is None:
            return ""
        return self._addresses.bound_key(address)
