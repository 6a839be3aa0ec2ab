"""What must never be shown of a service: the values of its secret variables, as far as anybody remembers them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from director.engine.snapshot import Snapshot
from director.images.catalog import Catalog
from director.redact import secret_values
from director.state.desired import Desired
from director.state.history import Releases


@dataclass(kw_only=True, eq=False)
class Secrets:
    """Knows which variables of a service are secret, and their values."""

    desired: Desired
    releases: Releases
    snapshot: Snapshot
    catalog: Catalog

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values that must not appear in anything a service says, longest first.

        Those of what runs, of what should, and of every release that is remembered: a status or a log line may be older
        than the container.
        """
        wanted, seen = self.desired.get(name), self.snapshot.primary(name)
        specs = [release.spec for release in self.releases.of(name)]
        specs += [wanted.spec] if wanted else []
        declared = {key for spec in specs for key in spec.secrets}
        found = {value for spec in specs for value in secret_values(spec.env, declared)}
        found |= {*secret_values(seen.env, declared)} if seen else set()
        return tuple(sorted(found, key=len, reverse=True))

    async def declared(self, name: str) -> tuple[str, ...]:
        """Return the env keys that are secret for a service: of what runs, and of its image folder."""
        wanted = self.desired.get(name)
        folder = await asyncio.to_thread(self.catalog.find, name)
        return (*(wanted.spec.secrets if wanted else ()), *(folder.band.secrets if folder else ()))
