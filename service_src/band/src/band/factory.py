"""Redis clients for services: ``redis_factory``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

from band import config
from band.redis.dsn import dsn_from_env


class Client:
    """A redis-py client that also answers the call forms of aioredis 1: ``await client.execute("GET", "key")``."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def execute(self, *command: Any) -> Any:
        """Send one command; the reply as Redis gives it (bytes, int, list or None)."""
        return await self.inner.execute_command(*command)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def close(self) -> None:
        """Begin to close; :meth:`wait_closed` waits for its end."""

    async def wait_closed(self) -> None:
        """Close the connection."""
        await self.inner.aclose()


class _Borrowed:
    """What ``pool.get()`` and ``await pool`` give: usable with ``async with`` and with ``with``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def __aenter__(self) -> Client:
        return self._client

    async def __aexit__(self, *_exc: object) -> None:
        return None

    def __enter__(self) -> Client:
        return self._client

    def __exit__(self, *_exc: object) -> None:
        return None


class Pool(Client):
    """A pool of connections: a client that can also be borrowed from, in the forms of aioredis 1."""

    def get(self) -> _Borrowed:
        """Return a client for ``async with pool.get() as client``."""
        return _Borrowed(self)

    def __await__(self) -> Generator[Any, None, _Borrowed]:
        return self._borrow().__await__()

    async def _borrow(self) -> _Borrowed:
        return _Borrowed(self)


class RedisFactory:
    """Makes and closes the clients and pools of a service, for the service's own Redis unless told otherwise."""

    def __init__(self, dsn: Callable[[], str] | None = None) -> None:
        self._dsn = dsn or (lambda: dsn_from_env(config.environ))

    async def create_client(self, dsn: str | None = None, **options: Any) -> Client:
        """Return a client with one connection."""
        return Client(self._connect(dsn, {**options, "single_connection_client": True}))

    async def create_pool(self, dsn: str | None = None, minsize: int = 1, maxsize: int = 10, **options: Any) -> Pool:
        """Return a pool of at most ``maxsize`` connections; ``minsize`` is taken for the original's sake."""
        del minsize
        return Pool(self._connect(dsn, {**options, "max_connections": maxsize}))

    async def create_redis_pool(self, dsn: str | None = None, **options: Any) -> Pool:
        """Do what :meth:`create_pool` does."""
        return await self.create_pool(dsn, **options)

    async def close_client(self, client: Client) -> None:
        """Close a client."""
        await client.wait_closed()

    async def close_pool(self, pool: Pool) -> None:
        """Close a pool."""
        await pool.wait_closed()

    @contextlib.asynccontextmanager
    async def client(self, dsn: str | None = None) -> AsyncIterator[Client]:
        """Return a client that is closed at the end of the block."""
        client = await self.create_client(dsn)
        try:
            yield client
        finally:
            await client.wait_closed()

    def _connect(self, dsn: str | None, options: dict[str, Any]) -> Any:
        from redis.asyncio import Redis  # at use only: it costs 100 ms and 10 MB to import

        options.pop("loop", None)
        return Redis.from_url(dsn or self._dsn(), **options)
