"""The output of services as text, secrets of their environment replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable

from director.engine.interface import Observed, Runtime
from director.engine.lines import printable
from director.redact import scrub, secret_values

SILENCE = 5.0


async def tail(runtime: Runtime, container: Observed, lines: int, declared: Collection[str]) -> str:
    """Return the last lines of a container's output."""
    secrets = secret_values(container.env, declared)
    return text_of(scrub(line, secrets) for line in await runtime.logs(container.id, lines))


def text_of(lines: Iterable[str]) -> str:
    """Return lines as a text for a terminal."""
    return "".join(f"{printable(line)}\n" for line in lines)


async def follow(
    runtime: Runtime, container: Observed, lines: int, declared: Collection[str]
) -> AsyncGenerator[bytes, None]:
    """Yield the last lines and then each new one, until the container ends.

    While it prints nothing there is an empty chunk every few seconds: whoever writes them finds out that nobody reads.
    """
    secrets = secret_values(container.env, declared)
    source = runtime.follow(container.id, lines)
    coming: asyncio.Task[str | None] | None = None
    try:
        while True:
            coming = coming or asyncio.create_task(_next(source))
            await asyncio.wait({coming}, timeout=SILENCE)
            if not coming.done():
                yield b""
                continue
            line = coming.result()
            coming = None
            if line is None:
                return
            yield text_of([scrub(line, secrets)]).encode()
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def _next(source: AsyncIterator[str]) -> str | None:
    return await anext(source, None)
