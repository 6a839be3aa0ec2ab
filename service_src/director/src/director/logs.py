"""The output of services as text, secrets of their environment replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

from director.masking import scrub, secret_values
from director.runtime.face import Observed, Runtime


async def tail(runtime: Runtime, container: Observed, lines: int, declared: Collection[str]) -> str:
    """Return the last lines of a container's output."""
    secrets = secret_values(container.env, declared)
    return "".join(f"{scrub(line, secrets)}\n" for line in await runtime.logs(container.id, lines))


async def follow(runtime: Runtime, container: Observed, lines: int, declared: Collection[str]) -> AsyncIterator[bytes]:
    """Yield the last lines and then each new one, until the container ends."""
    secrets = secret_values(container.env, declared)
    async for line in runtime.follow(container.id, lines):
        yield f"{scrub(line, secrets)}\n".encode()
