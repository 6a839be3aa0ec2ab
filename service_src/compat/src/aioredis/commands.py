"""How aioredis 1 is connected: ``await aioredis.create_redis_pool("redis://…")`` and its sisters."""

from __future__ import annotations

from typing import Any

from band.compat.redis1 import Client, Pool, connect

Redis = Client

Address = str | tuple[str, int] | list[Any]


def _dsn(address: Address) -> str:
    if not isinstance(address, str):
        return f"redis://{address[0]}:{address[1]}"
    return address if "://" in address else f"unix://{address}"


async def create_redis(address: Address, **options: Any) -> Client:
    """Return a client with one connection."""
    return Client(connect(_dsn(address), single_connection_client=True, **options), options.get("encoding"))


async def create_connection(address: Address, **options: Any) -> Client:
    """Return a client with one connection."""
    return await create_redis(address, **options)


async def create_pool(address: Address, *, minsize: int = 1, maxsize: int = 10, **options: Any) -> Pool:
    """Return a pool of at most ``maxsize`` connections; they are made when they are needed."""
    del minsize
    return Pool(connect(_dsn(address), max_connections=maxsize, **options), options.get("encoding"))


async def create_redis_pool(address: Address, **options: Any) -> Pool:
    """Return a pool that also has the commands as methods."""
    return await create_pool(address, **options)


def from_url(url: str, **options: Any) -> Any:
    """Return redis-py's own client: what aioredis 2 was is redis-py today."""
    from redis.asyncio import Redis as RedisPy

    return RedisPy.from_url(url, **options)


__all__ = ["Redis", "create_connection", "create_pool", "create_redis", "create_redis_pool", "from_url"]
