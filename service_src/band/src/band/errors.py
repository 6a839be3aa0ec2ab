"""The errors of band.

::

    BandError
    ├── SettingsError           a setting is missing, misspelt or of the wrong type
    ├── RegistrationError       a function was exposed in a way that cannot work (also a ValueError)
    ├── InvalidParams           the parameters of a call do not fit the function (also a ValueError)
    ├── DecodingError           data in Redis cannot be read (also a ValueError)
    ├── RedisError
    │   ├── RedisUnavailable    there is no connection to Redis, or it did not respond in time
    │   └── RedisReplyError     Redis responded with an error (OOM, WRONGTYPE, NOAUTH …)
    ├── RpcError
    │   ├── RpcTimeout          the peer did not respond before the deadline
    │   ├── RpcUnavailable      nobody listens under that name, or Redis was unavailable until the deadline
    │   └── RpcRemoteError      the peer responded with a JSON-RPC error
    ├── Retry                   raised by a listener: deliver the event again later
    └── Reject                  raised by a listener: make the event a dead letter now

The message of each says what happened, why, and what to do next.
"""

from __future__ import annotations

from typing import Any, Final

MAX_RETRY_SECONDS: Final = 86_400.0
"""The longest delay of a retry: until then the stream keeps the event, and all that came after it."""


class BandError(Exception):
    """Root of band's errors."""


class SettingsError(BandError):
    """A setting is missing, misspelt or of the wrong type."""


class RegistrationError(BandError, ValueError):
    """A function was exposed in a way that cannot work."""


class InvalidParams(BandError, ValueError):
    """The parameters of a call are invalid; ``path`` says which one (``$.limit``), empty if none is named.

    The caller gets -32602 over RPC. Over HTTP it gets 422 if the function's annotations refuse a value, otherwise 400.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class DecodingError(BandError, ValueError):
    """Data in Redis cannot be read: it is not JSON, not UTF-8, or not of the expected type."""


class RedisError(BandError):
    """Root of the errors between a service and Redis."""


class RedisUnavailable(RedisError):
    """There is no connection to Redis, or it did not respond in time."""


class RedisReplyError(RedisError):
    """Redis responded with an error; ``code`` is its first word (``OOM``, ``WRONGTYPE``, ``NOAUTH`` …)."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.split(" ", 1)[0]


class RpcError(BandError):
    """Root of the errors of a call; ``to`` and ``method`` name the call."""

    def __init__(self, message: str, *, to: str = "", method: str = "") -> None:
        super().__init__(message)
        self.to = to
        self.method = method


class RpcTimeout(RpcError):
    """The peer did not respond before the deadline."""


class RpcUnavailable(RpcError):
    """Nobody listens under that name, or Redis was unavailable until the deadline."""


class RpcRemoteError(RpcError):
    """The peer responded with a JSON-RPC error: ``code`` (int), ``message`` (str), ``data`` (any JSON or None)."""

    def __init__(self, code: int, message: str, data: Any = None, *, to: str = "", method: str = "") -> None:
        detail = data.get("message") if isinstance(data, dict) else None
        text = f"{message}: {detail}" if isinstance(detail, str) and detail else message
        super().__init__(text, to=to, method=method)
        self.code = code
        self.message = message
        self.data = data

    @property
    def text(self) -> str:
        """The message, with the peer's detail if there is one."""
        return str(self)


class Retry(BandError):
    """Raise it in a listener to have the event, or the batch, delivered again later, and others meanwhile.

    It counts as an attempt (the listener's ``max_attempts``). The delay and the count survive a restart.

    Args:
        reason: why; the reason of the dead letter if the last attempt ends in this way too.
        after: the least number of seconds to wait, up to a day. Default: the listener's ``backoff``.

    Raises:
        ValueError: ``after`` is negative or longer than a day.
    """

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        super().__init__(reason or "the listener asked for another delivery")
        if after is not None and not 0 <= after <= MAX_RETRY_SECONDS:
            raise ValueError(
                f"Retry(after={after!r}) is invalid; give seconds from 0 to {MAX_RETRY_SECONDS:.0f} (a day)"
            )
        self.after = after


class Reject(BandError):
    """Raise it in a listener of the stream to make the event a dead letter at once, with this reason.

    A batch is halved until the rejected events are found; only those become dead letters.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the listener rejected the event")
