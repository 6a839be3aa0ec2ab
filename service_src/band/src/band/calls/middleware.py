"""The hook around every call of an exposed function: ``async def middleware(call, next)``.

The framework's own steps are middlewares too: counting, the privacy of listeners, refusing other sites.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from band.calls.consent import allowed
from band.constants import DIRECTOR_SERVICE, INSTANCE_SEPARATOR
from band.errors import InvalidParams, Reject, Retry
from band.registry import Exposed, Registry
from band.telemetry.metrics import Metrics

RPC: Final = "rpc"
HTTP: Final = "http"
STREAM: Final = "stream"


class Call(msgspec.Struct):
    """One call of an exposed function, on its way through the middlewares, which may change it.

    Attributes:
        transport: how it came: ``rpc``, ``http``, or ``stream`` for a listener of the durable stream.
        exposed: the function: ``exposed.name``, ``exposed.role``. None in the guard against other sites, which is asked
            for pages without a function too.
        params: the parameters before conversion; for a listener, the event.
        events: the events of a listener with ``batch``, otherwise None.
        sender: over RPC: the calling service, or its instance (``front#1a2b3c4d``).
        request: over HTTP: aiohttp's request.
        request_id: over RPC: the id of the request; UNSET if nobody waits for the result.
    """

    transport: str
    exposed: Exposed | None
    params: dict[str, Any] = {}
    events: list[dict[str, Any]] | None = None
    sender: str = ""
    request: Any = None
    request_id: Any = msgspec.UNSET

    @property
    def method(self) -> str:
        """The function's name; empty where there is no function."""
        return self.exposed.name if self.exposed else ""


Next = Callable[[Call], Awaitable[Any]]
Middleware = Callable[[Call, Next], Awaitable[Any]]


def chain(middlewares: Iterable[Middleware], last: Next) -> Next:
    """Return a function that passes a call through the middlewares, the first one outermost, to ``last``."""
    for middleware in reversed(list(middlewares)):
        last = _bind(middleware, last)
    return last


def _bind(middleware: Middleware, following: Next) -> Next:
    return lambda call: middleware(call, following)


async def deliver(call: Call) -> Any:
    """Call the function and return its result, awaited if necessary.

    Raises:
        InvalidParams: the parameters are invalid; the text says which.
        Exception: whatever the function raises.
    """
    assert call.exposed is not None  # noqa: S101 - a page has another end of its chain
    handler = call.exposed.handler
    result = handler.call(call.params) if call.events is None else handler.call_batch(call.events)
    return await result if inspect.isawaitable(result) else result


def own(registry: Registry) -> Sequence[Middleware]:
    """Return the middlewares for every transport: a listener's keys, privacy, and those of the author."""
    filtered = any(exposed.keys for exposed in registry.methods.values())
    guarded = any("personal" in exposed.options for exposed in registry.methods.values())
    return [*([only_keys] if filtered else ()), *([guard_privacy] if guarded else ()), *registry.middlewares]


async def only_keys(call: Call, following: Next) -> Any:
    """Give a listener only the events of its declaration (``keys=``)."""
    keys = call.exposed.keys if call.exposed else ()
    if not keys or (call.exposed is not None and call.exposed.batch and call.events is None):
        return await following(call)  # a batch by hand has been chosen already
    if call.events is not None:
        call.events = [event for event in call.events if is_under(event.get("key"), keys)]
        return await following(call) if call.events else None
    return await following(call) if is_under(call.params.get("key"), keys) else None


def is_under(key: Any, prefixes: Iterable[str]) -> bool:
    """Return whether an event's key is under one of some dotted prefixes; ``*`` stands for all."""
    name = str(key or "")
    return any(prefix == "*" or name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


async def guard_privacy(call: Call, following: Next) -> Any:
    """Pass to a listener only the data that its declaration (``personal=``) allows."""
    personal = call.exposed.options.get("personal") if call.exposed else None
    if personal is None:
        return await following(call)
    if call.events is not None:
        call.events = allowed(call.events, personal=personal)
        return await following(call) if call.events else None
    if call.exposed is not None and call.exposed.batch:  # called by hand: `events=[…]`
        lists = {name: allowed(value, personal=personal) for name, value in call.params.items() if _is_events(value)}
        call.params = {**call.params, **lists}
        return await following(call) if any(lists.values()) else None
    left = allowed([call.params], personal=personal)
    if not left:
        return None
    call.params = left[0]
    return await following(call)


def _is_events(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(event, dict) for event in value)


def counted(metrics: Metrics, *, fine: tuple[type[Exception], ...] = ()) -> Middleware:
    """Return the middleware that counts calls by outcome, times them, and records failing functions.

    Args:
        metrics: gets the figures.
        fine: exceptions that are a regular response.
    """

    async def count(call: Call, following: Next) -> Any:
        exposed, outcome, begun = call.exposed, "ok", time.perf_counter()
        assert exposed is not None  # noqa: S101 - only functions are counted
        try:
            result = await following(call)
            if call.transport != HTTP:
                metrics.failures.succeeded(exposed.kind, exposed.name)
            return result
        except fine:
            raise
        except (Retry, Reject) as error:
            outcome = type(error).__name__.lower()
            raise
        except asyncio.CancelledError:
            outcome = "cut_off"
            raise
        except InvalidParams as error:
            outcome = "invalid_params"
            if is_own_mistake(call, error):
                metrics.failures.failed(exposed.kind, exposed.name, error)
            raise
        except Exception as error:
            outcome = "error"
            if call.transport != HTTP:
                metrics.failures.failed(exposed.kind, exposed.name, error)
            raise
        finally:
            metrics.called(exposed.name, outcome, time.perf_counter() - begun)

    return count


def is_own_mistake(call: Call, error: InvalidParams) -> bool:
    """Return whether invalid parameters are the function's fault, not the caller's.

    front passes the same parameters to every handler, and the stream to every listener. A value that annotations refuse
    came from a client, which must not be able to make a service degraded.
    """
    if error.path:
        return False
    by_hand = call.transport == HTTP or call.sender.partition(INSTANCE_SEPARATOR)[0] == DIRECTOR_SERVICE
    return call.exposed is not None and call.exposed.role is not None and not by_hand
