"""The import path ``aioredis.pool``."""

from aioredis.commands import create_pool

from band.compat.redis1 import Pool

ConnectionsPool = Pool
RedisPool = Pool

__all__ = ["ConnectionsPool", "RedisPool", "create_pool"]
