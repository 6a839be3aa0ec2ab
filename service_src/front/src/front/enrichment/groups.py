"""Fields of `data` that replicas share: the service group that their replies name, where they may have it.

The original stores an enrichment under whatever a reply says. Here a service may only shorten its own name, as `uap_1`
to `uap`, so that no service writes where its operator did not put it: neither into what visitors send nor into what
another service answers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final

SENT_BY_CLIENTS: Final = frozenset({
    "browser", "char", "consent", "cookieless", "data", "dedup", "fpid", "gpc", "id__", "lib", "name", "page", "perf",
    "privacy", "projectId", "screen", "scroll", "service", "sess", "sig", "stored", "to", "ts", "ttl", "uid", "user",
})  # fmt: skip
"""Fields of `data` that trackers send or front itself writes: no group is called so."""
_SEPARATORS: Final = "_-.0123456789"


def field_of(service: str, groups: Mapping[str, str], services: Collection[str]) -> str:
    """Return the field of `data` for what a service answers: its group's name where it may have it, else its own.

    Args:
        service: its name.
        groups: service -> the group that its last reply named.
        services: all that enrich. Where one of them is itself called as the group, it must be of the group too.
    """
    group = groups.get(service, service)
    if group == service or not may_shorten(service, group) or (group in services and groups.get(group) != group):
        return service
    return group


@lru_cache(maxsize=1024)
def may_shorten(service: str, group: str) -> bool:
    """Return whether a group's name is the beginning of its service's, up to a `_`, `-`, `.` or digit."""
    return (
        0 < len(group) < len(service)
        and service.startswith(group)
        and service[len(group)] in _SEPARATORS
        and group not in SENT_BY_CLIENTS
    )
