"""The registry of a service's functions, and its decorators ``expose``, ``worker``, ``cleanup``, ``health`` …"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, overload

import msgspec

from band.calls import positions
from band.calls.signature import Handler
from band.constants import ROLE_ENRICHER, ROLE_HANDLER, ROLE_LISTENER
from band.errors import RegistrationError
from band.telemetry.failures import METHOD

F = TypeVar("F", bound=Callable[..., Any])
BATCH_BYTES: Final = 4_000_000
"""Default for the bytes of a listener's batch: with 100 kB in each event, 200 of them would fill a small container."""


class Exposed(msgspec.Struct, frozen=True):
    """One function that can be called over RPC and, if it has a ``path``, over the service's own HTTP port."""

    name: str
    func: Callable[..., Any]
    path: str
    role: str | None = None
    options: dict[str, Any] = {}
    batch: int = 0
    batch_bytes: int = 0
    linger: float = 0.0
    in_flight: int = 1
    max_attempts: int = 10
    backoff: float = 0.5
    backoff_max: float = 30.0
    timeout: float = 0.0
    start: str = "$"
    keys: tuple[str, ...] = ()
    cache_version: Callable[[], str] | None = None
    handler: Handler = None  # type: ignore[assignment]  # made of `func` where none is given

    def __post_init__(self) -> None:
        if self.handler is None:
            msgspec.structs.force_setattr(self, "handler", Handler(self.func, self.name, batch=self.batch > 0))

    @property
    def kind(self) -> str:
        """Its role, or ``method``; a label of metrics."""
        return self.role or METHOD

    @property
    def listed(self) -> bool:
        """Whether it is announced to the director and front."""
        return self.role is not None and not self.name.startswith("__")

    def row(self) -> dict[str, Any]:
        """Return the registration for the response to ``__status``."""
        return {"method": self.name, "role": self.role, "options": self._options_now()}

    def _options_now(self) -> dict[str, Any]:
        """Return the current options; without a version of the data, answers must not be cached."""
        if self.cache_version is None or "cache" not in self.options:
            return self.options
        version = self.cache_version()
        if version:
            return {**self.options, "cache": {**self.options["cache"], "version": version}}
        return {key: value for key, value in self.options.items() if key != "cache"}


class HealthCheck(msgspec.Struct, frozen=True):
    """A function that checks one part of the service."""

    name: str
    func: Callable[..., Any]
    handler: Handler = None  # type: ignore[assignment]  # made of `func`

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "handler", Handler(self.func))


class Registry:
    """The functions that a service's modules registered during import."""

    def __init__(self) -> None:
        self.methods: dict[str, Exposed] = {}
        self.middlewares: list[Callable[..., Any]] = []
        self.lifespans: list[Callable[..., Any]] = []
        self.setups: list[Callable[[], Any]] = []
        self.workers: list[Callable[[], Any]] = []
        self.cleanups: list[Callable[[], Any]] = []
        self.health_checks: list[HealthCheck] = []
        self.framework_checks: dict[str, Callable[[], dict[str, Any] | None]] = {}
        """The framework's own; each returns None if there is nothing to report."""
        self._values: Sequence[object] | None = None

    def add(self, exposed: Exposed) -> None:
        """Add a function; a second one of the same name replaces the first."""
        self.methods[exposed.name] = exposed
        if self._values is not None:
            exposed.handler.prepare(self._values)

    def prepare(self, values: Sequence[object]) -> None:
        """Read the annotations of all functions, health checks too; parameters can request ``values`` by type.

        Raises:
            RegistrationError: the annotations of one cannot be used.
        """
        self._values = values
        handlers = [exposed.handler for exposed in self.methods.values()]
        for handler in [*handlers, *(check.handler for check in self.health_checks)]:
            handler.prepare(values)

    def rows(self) -> list[dict[str, Any]]:
        """Return the announced registrations, in order of registration."""
        return [exposed.row() for exposed in self.methods.values() if exposed.listed]

    def with_role(self, role: str) -> list[Exposed]:
        """Return the functions of one role."""
        return [exposed for exposed in self.methods.values() if exposed.role == role]


class Expose:
    """The ``expose`` decorators; each returns the function unchanged."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __call__(self, name: str | None = None, path: str | None = None, http: bool = True) -> Callable[[F], F]:
        """Expose a function over RPC and on the service's own HTTP port.

        Args:
            name: the method's name. Default: the function's.
            path: the path for HTTP GET and POST; None and an empty string mean ``/<name>``.
            http: False: over RPC only, which includes the director's ``/call``. For functions that no web page and no
                program on the host should reach through the service's port.

        Raises:
            RegistrationError: there is a path although ``http`` is False.
        """
        return self._record(name, path, None, {}, http=http)

    def handler(
        self,
        name: str | None = None,
        path: str | None = None,
        alias: str | None = None,
        timeout: int | None = None,
        http: bool = True,
    ) -> Callable[[F], F]:
        """Answer events in front's place: front calls the function for ``/<service or alias>/<name>``.

        Args:
            name: the method's name; ``*`` matches every name. Default: the function's.
            path: the path on the service's own port.
            alias: the name under which front routes to it, instead of the service's.
            timeout: milliseconds that front waits for the answer (front's default: 200).
            http: False: not on the service's own port.
        """
        return self._record(name, path, ROLE_HANDLER, {"alias": alias, "timeout": timeout}, http=http)

    def enricher(
        self,
        keys: list[str] | None = None,
        props: dict[str, str] | None = None,
        alias: str | None = None,
        name: str | None = None,
        path: str | None = None,
        cache: float | None = None,
        cache_version: Callable[[], str] | None = None,
        http: bool = True,
    ) -> Callable[[F], F]:
        """Add data to events: the answer is stored as ``data.<service>``.

        Args:
            keys: dotted prefixes of the event keys to enrich (``in.gen.track``; ``*`` for all).
            props: parameter name → dotted path in the event, e.g. ``{"ip": "td.ip"}``.
            alias: only for services of the original platform.
            name: the method's name; front always calls ``enrich``, so do not change it.
            path: the path on the service's own port.
            cache: seconds for which front may reuse an answer for other events with the same ``props``, on which alone
                it must depend. Default: none, every event is a call.
            cache_version: returns the version of the data in use; when it changes, front drops the cached answers,
                and while it is an empty string, front caches nothing.
            http: False: not on the service's own port.

        Raises:
            RegistrationError: there are no keys, they are one string, or there is ``cache`` without ``props`` or not
                above 0.
        """
        _check_keys("enricher", keys)
        if not keys:
            raise RegistrationError(
                "An enricher needs the keys of the events that it wants; write "
                'expose.enricher(keys=["in.gen.track"], …)'
            )
        options: dict[str, Any] = {"keys": list(keys), "props": props, "alias": alias}
        if cache is not None:
            if not props or cache <= 0:
                raise RegistrationError(
                    "A cache needs props, and a time of more than 0 seconds; write "
                    'expose.enricher(keys=[…], props={"ip": "td.ip"}, cache=300)'
                )
            options["cache"] = {"props": sorted(props), "ttl": cache}
        return self._record(name, path, ROLE_ENRICHER, options, cache_version=cache_version, http=http)

    def listener(
        self,
        name: str | None = None,
        path: str | None = None,
        batch: int = 0,
        linger: float = 0.0,
        max_attempts: int = 10,
        personal: bool | None = None,
        batch_bytes: int = BATCH_BYTES,
        in_flight: int = 1,
        http: bool = True,
        backoff: float = 0.5,
        backoff_max: float = 30.0,
        timeout: float = 0.0,
        start: positions.Given = positions.NOW,
        keys: list[str] | None = None,
    ) -> Callable[[F], F]:
        """Consume events. Returning acknowledges them; raising has them delivered again.

        ``raise Retry(after=30)`` has an event delivered again later, and others meanwhile; ``raise Reject("why")``
        makes it a dead letter at once. After any other exception it is retried with backoff, before all others.

        With ``rpc_params: {listen_all: yes}`` the function gets what is published on the channel ``broadcast``, at
        most once, as in the original. Without it, the function consumes the durable stream as the consumer group of
        the service's name, at least once.

        Args:
            name: the method's name. Default: the function's.
            path: the path on the service's own port.
            batch: 0: one event per call, as keyword arguments. N: a list of at most N events as the only argument.
            linger: seconds to wait for a batch to fill after its first event.
            max_attempts: after so many failures an event goes to the stream ``dead:<service>`` with the reason. A batch
                is halved until only the failing events are left.
            personal: False: it takes no personal data, and gets events without any. True: it does, and gets no event
                whose sender objected (Global Privacy Control, refused consent). None: it gets all, and decides.
            batch_bytes: a batch with so many bytes of JSON is delivered without waiting for more events. 0: only the
                number counts. Memory may hold `in_flight` + 1 batches, each as JSON and decoded.
            in_flight: how many batches may be in progress at once; with more than one, they may end in any order.
            http: False: not on the service's own port.
            backoff: seconds before the second attempt, doubled before each further one. With jitter.
            backoff_max: the longest pause, in seconds.
            timeout: seconds that one call may take; then it is cancelled and counts as failed. 0: no limit. A function
                that is not ``async`` cannot be cancelled, and one that is ``@blocking`` is refused, because its thread
                would continue beside the next attempt.
            start: where a new listener starts: ``"now"``, ``"beginning"`` (the oldest event in the stream), a time, or
                an entry's id. One that has run before continues where it was; the director's ``/replay`` goes back.
            keys: dotted prefixes of the event keys that it wants (``in.gen.track``); other events are acknowledged
                without a call. Default: all events.

        Raises:
            RegistrationError: a number is out of range, ``start`` is not a place in the stream, ``keys`` is one string,
                or the function has a ``timeout`` and is ``@blocking``.
        """
        if max_attempts < 1 or timeout < 0 or not 0 <= backoff <= backoff_max:
            raise RegistrationError(
                f"max_attempts={max_attempts}, backoff={backoff}, backoff_max={backoff_max}, timeout={timeout}: "
                "a listener has at least one attempt, 0 <= backoff <= backoff_max, and a timeout of 0 or more"
            )
        _check_keys("listener", keys)
        try:
            begins = positions.group_start(start)
        except ValueError as error:
            raise RegistrationError(f"expose.listener(start=…): {error}") from None
        return self._record(
            name, path, ROLE_LISTENER, {"personal": personal}, batch=batch, batch_bytes=batch_bytes, linger=linger,
            in_flight=max(1, in_flight), max_attempts=max_attempts, http=http, backoff=backoff, backoff_max=backoff_max,
            timeout=timeout, start=begins, keys=tuple(keys or ()),
        )  # fmt: skip

    def _record(
        self, name: str | None, path: str | None, role: str | None, options: dict[str, Any], *, http: bool, **more: Any
    ) -> Callable[[F], F]:
        if path and not http:
            raise RegistrationError(f"A function with http=False has no path; leave out http=False or path={path!r}")

        def decorate(func: F) -> F:
            if not callable(func):
                raise RegistrationError(f"{func!r} cannot be exposed: it is not a function")
            method = name or str(getattr(func, "__name__", type(func).__name__))
            if more.get("timeout") and _runs_in_a_thread(func):
                raise RegistrationError(
                    f"{method} is @blocking and has timeout={more['timeout']:g}: a thread cannot be cancelled, and the "
                    "next attempt would begin beside it; leave out timeout, and give what it waits for one of its own"
                )
            given = {key: value for key, value in options.items() if value is not None}
            where = (path or f"/{method}") if http else ""
            self._registry.add(Exposed(method, func, where, role, given, **more))
            return func

        return decorate


def _check_keys(role: str, keys: object) -> None:
    if isinstance(keys, str):
        raise RegistrationError(f'expose.{role}(keys=…) takes a list of prefixes; write keys=["{keys}"]')


def _runs_in_a_thread(func: Callable[..., Any]) -> bool:
    """Return whether a plain function was wrapped by ``@blocking``."""
    return inspect.iscoroutinefunction(func) and not inspect.iscoroutinefunction(inspect.unwrap(func))


class Worker:
    """The ``setup``, ``worker`` and ``cleanup`` decorators: functions to run before, during and after the work.

    A ``setup`` ends before the service can be called, so load there what it needs in order to answer. One
    that fails is logged and does not prevent the start.
    """

    def __init__(self, functions: list[Callable[[], Any]]) -> None:
        self._functions = functions

    @overload
    def __call__(self, func: F, /) -> F: ...
    @overload
    def __call__(self) -> Callable[[F], F]: ...

    def __call__(self, *args: Any) -> Any:
        """Register a function; with or without parentheses."""
        if len(args) == 1 and callable(args[0]):
            self._functions.append(args[0])
            return args[0]
        return self.__call__


class Health:
    """The ``health`` decorator: ``@health``, ``@health()`` or ``@health("name")``."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @overload
    def __call__(self, arg: F) -> F: ...
    @overload
    def __call__(self, arg: str | None = None) -> Callable[[F], F]: ...

    def __call__(self, arg: Any = None) -> Any:
        """Register a function that returns ``{"status": "ok" | "degraded" | "failing", …}``."""
        if callable(arg):
            return self._record(arg, None)
        return lambda func: self._record(func, arg)

    def _record(self, func: F, name: str | None) -> F:
        self._registry.health_checks.append(HealthCheck(name or func.__name__, func))
        return func


async def resolve(value: Any) -> Any:
    """Await ``value`` if it can be awaited, else return it."""
    return await value if inspect.isawaitable(value) else value
