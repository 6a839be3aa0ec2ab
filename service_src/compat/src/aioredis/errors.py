"""The errors of aioredis 1, as the names that they have in redis-py."""

from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004 - redis-py's name
    ExecAbortError,
    InvalidResponse,
    RedisError,
    ResponseError,
    WatchError,
)

AuthError = AuthenticationError
ChannelClosedError = ConnectionError
ConnectionClosedError = ConnectionError
ConnectionForcedCloseError = ConnectionError
MultiExecError = ExecAbortError
PipelineError = ExecAbortError
PoolClosedError = ConnectionError
ProtocolError = InvalidResponse
ReplyError = ResponseError
WatchVariableError = WatchError

__all__ = [
    "AuthError",
    "ChannelClosedError",
    "ConnectionClosedError",
    "ConnectionForcedCloseError",
    "MultiExecError",
    "PipelineError",
    "PoolClosedError",
    "ProtocolError",
    "RedisError",
    "ReplyError",
    "WatchVariableError",
]
