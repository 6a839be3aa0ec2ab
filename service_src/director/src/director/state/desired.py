"""The desired state: what should run, one JSON document a service in a Redis hash, with a copy in memory.

The director is its only writer. Reading never needs Redis once it was loaded; writing does.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from director.state.spec import RESERVED, Spec
from director.state.store import RedisHash, Store

State = Literal["running", "stopped", "removed"]


class DesiredService(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What should be of one service. `removed` is kept only until its containers are gone.

    `watch`: seconds for which a new release is watched, None for the director's own setting.
    """

    spec: Spec
    state: State = "running"
    title: str = ""
    pos: str | None = None
    since: float = 0.0
    watch: float | None = None


class Desired(RedisHash[DesiredService]):
    """The hash `<namespace>:director:desired`; `loaded` is False until Redis has been read once."""

    def __init__(self, store: Store, namespace: str) -> None:
        super().__init__(store, f"{namespace}:director:desired", DesiredService, _is_valid)

    async def put(self, wanted: DesiredService) -> None:
        """Write what should be of a service.

        Raises:
            RedisUnavailable: Redis does not answer; nothing was changed.
        """
        await self.write(wanted.spec.name, wanted)

    def stopped(self) -> frozenset[str]:
        """Return the services that are not to run."""
        return frozenset(name for name, wanted in self.all().items() if wanted.state != "running")


def _is_valid(name: str, wanted: DesiredService) -> bool:
    return wanted.spec.name == name and name not in RESERVED
