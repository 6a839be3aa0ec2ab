"""Redis clients for services: ``redis_factory``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from band import config
from band.compat.redis1 import Client, Pool, connect
from band.redis.address import dsn_from_env

C = TypeVar("C", bound=Client)


def _own_dsn() -> str:
    """Return the address of the Redis that the service itself uses."""
    from band.service.lifecycle import service

    return service.config.redis_dsn or dsn_from_env(config.environ)


class RedisFactory:
    """Creates and closes a service's Redis clients and pools, by default for the service's own Redis.

    They support the API of aioredis 1 (``async with pool.get() as c``, ``with await pool as c``,
    ``await c.execute("GET", "key")``), which services of the original platform use.
    """

    def __init__(self, dsn: Callable[[], str] | None = None) -> None:
        self._dsn = dsn or _own_dsn
        self._made: list[Client] = []

    async def create_client(self, dsn: str | None = None, **options: Any) -> Client:
        """Return a client with one connection."""
        inner = connect(dsn or self._dsn(), **{**options, "single_connection_client": True})
        return self._keep(Client(inner, options.get("encoding")))

    async def create_pool(self, dsn: str | None = None, minsize: int = 1, maxsize: int = 10, **options: Any) -> Pool:
        """Return a pool of at most ``maxsize`` connections; ``minsize`` is accepted and ignored."""
        del minsize
        inner = connect(dsn or self._dsn(), **{**options, "max_connections": maxsize})
        return self._keep(Pool(inner, options.get("encoding")))

    async def create_redis_pool(self, dsn: str | None = None, **options: Any) -> Pool:
        """Do what :meth:`create_pool` does."""
        return await self.create_pool(dsn, **options)

    async def close_client(self, client: Client | None = None) -> None:
        """Close a client, or all clients that were created here and are not pools."""
        await self._close(client, lambda made: not isinstance(made, Pool))

    async def close_pool(self, pool: Pool | None = None) -> None:
        """Close a pool, or all pools that were created here."""
        await self._close(pool, lambda made: isinstance(made, Pool))

    @contextlib.asynccontextmanager
    async def client(self, dsn: str | None = None) -> AsyncIterator[Client]:
        """Return a client that is closed at the end of the block."""
        client = await self.create_client(dsn)
        try:
            yield client
        finally:
            await self.close_client(client)

    def _keep(self, client: C) -> C:
        self._made = [made for made in self._made if not made.closed]
        self._made.append(client)
        return client

    async def _close(self, client: Client | None, which: Callable[[Client], bool]) -> None:
        for made in [client] if client is not None else [made for made in self._made if which(made)]:
            await made.wait_closed()
