"""Redis connections that reconnect automatically."""

from band.backoff import Backoff
from band.redis.address import DEFAULT_DSN, RedisAddress, dsn_from_env
from band.redis.link import RedisLink

__all__ = ["DEFAULT_DSN", "Backoff", "RedisAddress", "RedisLink", "dsn_from_env"]
