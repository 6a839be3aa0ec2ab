"""The call forms of aioredis 1 over redis-py, of which aioredis has been a part since 2022."""

from aioredis import commands, errors, pool
from aioredis.commands import create_connection, create_pool, create_redis, create_redis_pool, from_url
from aioredis.errors import (
    AuthError,
    ChannelClosedError,
    ConnectionClosedError,
    ConnectionForcedCloseError,
    MultiExecError,
    PipelineError,
    PoolClosedError,
    ProtocolError,
    RedisError,
    ReplyError,
    WatchVariableError,
)

from band.compat.redis1 import Channel, Client, Pool

Redis = Client
RedisConnection = Client
ConnectionsPool = Pool
RedisPool = Pool

__all__ = [
    "AuthError",
    "Channel",
    "ChannelClosedError",
    "ConnectionClosedError",
    "ConnectionForcedCloseError",
    "ConnectionsPool",
    "MultiExecError",
    "PipelineError",
    "PoolClosedError",
    "ProtocolError",
    "Redis",
    "RedisConnection",
    "RedisError",
    "RedisPool",
    "ReplyError",
    "WatchVariableError",
    "commands",
    "create_connection",
    "create_pool",
    "create_redis",
    "create_redis_pool",
    "errors",
    "from_url",
    "pool",
]
