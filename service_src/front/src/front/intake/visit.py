"""One request at the door: its key is looked up once, its events are admitted together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from front.errors import BadRequest, RateLimited
from front.event.message import Message
from front.intake.door import Door
from front.intake.families.family import Draft, text
from front.intake.server_fields import apply_server_fields
from front.projects.table import Access


class Visit:
    """A request, or a message of a WebSocket, with `size` bytes of body that came from an address."""

    def __init__(self, door: Door, headers: Mapping[bytes, bytes], address: str, size: int) -> None:
        self._door = door
        self._headers = headers
        self._address = address
        self._size = size
        self.access: Access | None = None
        """What the key of the request opens; None if it has none."""

    def enter(self, key: str) -> None:
        """Enter with the key of the request, before its events are made; the first of them is counted.

        Raises:
            NotAdmitted: nobody has this key, or the page that sends it may not.
            RateLimited: there were too many events already.
            BadRequest: the body is larger than the project allows (413).
        """
        access = self.access = self._look_up(key)
        self._door.admit(access, self._address, 1)

    def _look_up(self, key: str, project_id: Any = None) -> Access:
        """Return what a key opens, or without one an event's `projectId`."""
        access = self._door.enter(self._headers, key, text(project_id))
        limit = access.project.body_limit
        if limit and self._size > limit:
            raise BadRequest("too_large", f"the body is larger than {limit} bytes; send smaller events", 413)
        return access

    def body_limit(self, usual: int) -> int:
        """Return how many bytes an event may have: what its project says, or else as usual."""
        return self.access.project.body_limit if self.access is not None and self.access.project.body_limit else usual

    def accesses_of(self, drafts: Sequence[Draft]) -> list[Access]:
        """Return the access of each event of a family: the request's, or that of the event's own key."""
        if self.access is not None:
            return [self.access] * len(drafts)
        of_key = {key: self._look_up(key) for key in {draft.key for draft in drafts}}
        return [of_key[draft.key] for draft in drafts]

    def admit(self, event: Message, project_id: Any) -> bool:
        """Admit an event of the native form, and give it the fields of its project; returns whether to store it."""
        access = self.access
        if access is None:
            access = self._look_up("", project_id)
            self._door.admit(access, self._address, 1)
        self._mark(event, access)
        return not self._door.ignores(access, event["td"].get("ip", ""))

    def admit_all(self, events: Sequence[Message]) -> list[Message]:
        """Admit events of the native form, all or none; returns those to store."""
        accesses: list[Access] = []
        of_project_id: dict[Any, Access] = {}
        for event in events:
            project_id = event["projectId"]
            access = self.access or of_project_id.get(project_id) or self._look_up("", project_id)
            of_project_id[project_id] = access
            accesses.append(access)
            self._mark(event, access)
        return self.count(events, accesses)

    def count(self, events: Sequence[Message], accesses: Sequence[Access]) -> list[Message]:
        """Count events with their accesses, all or none (then RateLimited is raised); returns those to store."""
        if self.access is not None:
            self._door.give_back(self.access, self._address, 1)
        self._admit_each(accesses)
        pairs = zip(events, accesses, strict=True)
        return [event for event, access in pairs if not self._door.ignores(access, event["td"].get("ip", ""))]

    def _admit_each(self, accesses: Sequence[Access]) -> None:
        """Count events, all or none."""
        counts = Counter(map(id, accesses))
        admitted: list[Access] = []
        try:
            for access in {id(access): access for access in accesses}.values():
                self._door.admit(access, self._address, counts[id(access)])
                admitted.append(access)
        except RateLimited:
            for access in admitted:
                self._door.give_back(access, self._address, counts[id(access)])
            raise

    @staticmethod
    def _mark(event: Message, access: Access) -> None:
        event["project"] = access.project.id
        if access.secret:
            apply_server_fields(event)
