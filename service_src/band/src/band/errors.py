"""Everything that band raises on purpose.

::

    BandError
    ├── SettingsError           a setting is missing, misspelt or of the wrong type
    ├── RegistrationError       a function was exposed in a way that cannot work (also a ValueError)
    ├── DecodingError           what stands in Redis cannot be read (also a ValueError)
    ├── RedisError
    │   ├── RedisUnavailable    there is no connection to Redis, or it did not answer in time
    │   └── RedisReplyError     Redis answered with an error (OOM, WRONGTYPE, NOAUTH …)
    └── RpcError
        ├── RpcTimeout          the peer did not answer before the deadline
        ├── RpcUnavailable      nobody listens under that name, or Redis stayed away until the deadline
        └── RpcRemoteError      the peer answered with a JSON-RPC error

The message of each says what happened, why, and what to do next.
"""

from __future__ import annotations

from typing import Any


class BandError(Exception):
    """Root of band's errors."""


class SettingsError(BandError):
    """A setting is missing, misspelt or of the wrong type."""


class RegistrationError(BandError, ValueError):
    """A function was exposed in a way that cannot work."""


class DecodingError(BandError, ValueError):
    """What stands in Redis cannot be read: no JSON, no UTF-8, or another type than expected."""


class RedisError(BandError):
    """Root of what goes wrong between a service and Redis."""


class RedisUnavailable(RedisError):
    """There is no connection to Redis, or it did not answer in time."""


class RedisReplyError(RedisError):
    """Redis answered with an error; ``code`` is its first word (``OOM``, ``WRONGTYPE``, ``NOAUTH`` …)."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.split(" ", 1)[0]


class RpcError(BandError):
    """Root of what goes wrong with a call; ``to`` and ``method`` name the call."""

    def __init__(self, message: str, *, to: str = "", method: str = "") -> None:
        super().__init__(message)
        self.to = to
        self.method = method


class RpcTimeout(RpcError):
    """The peer did not answer before the deadline."""


class RpcUnavailable(RpcError):
    """Nobody listens under that name, or Redis stayed away until the deadline."""


class RpcRemoteError(RpcError):
    """The peer answered with a JSON-RPC error: ``code`` (int), ``message`` (str), ``data`` (any JSON or None)."""

    def __init__(self, code: int, message: str, data: Any = None, *, to: str = "", method: str = "") -> None:
        detail = data.get("message") if isinstance(data, dict) else None
        text = f"{message}: {detail}" if isinstance(detail, str) and detail else message
        super().__init__(text, to=to, method=method)
        self.code = code
        self.message = message
        self.data = data

    @property
    def text(self) -> str:
        """The error in words: the message, with the peer's own detail where it gave one."""
        return str(self)
