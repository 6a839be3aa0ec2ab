"""Connections to Redis that survive Redis."""

from band.redis.backoff import Backoff
from band.redis.dsn import DEFAULT_DSN, RedisAddress, dsn_from_env
from band.redis.link import RedisLink

__all__ = ["DEFAULT_DSN", "Backoff", "RedisAddress", "RedisLink", "dsn_from_env"]
