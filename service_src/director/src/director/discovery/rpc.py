"""Calling a method of a service over RPC, with each way it can fail as its own HTTP error."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from band import RedisError, RpcRemoteError, RpcTimeout, RpcUnavailable
from band.platform import (
    DIRECTOR_METHODS,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    NOTIFY_ALIVE,
    BaseBandResponse,
    RedisLink,
    RpcClient,
    encode,
    from_wire,
)
from director.discovery.registrations import Registrations, Secrets
from director.errors import (
    BadParameter,
    Conflict,
    InvalidValue,
    NotFound,
    RedisUnavailable,
    ServiceFailed,
    TimedOut,
    did_you_mean,
)
from director.redact import scrub_tree
from director.redis.users import RedisUsers

SILENT_ON_UNKNOWN = frozenset({"front"})
"""The original front does not respond to a call of an unknown method."""
GRANT_SECONDS = 10
"""How long a service may take to find that a call is the director's."""


@dataclass(kw_only=True, eq=False)
class Rpc:
    """Calls methods of services; what they return is masked. With `users`, services learn which calls are its own."""

    client: RpcClient
    link: RedisLink
    registrations: Registrations
    secrets: Secrets
    users: RedisUsers | None = None

    async def call(self, name: str, method: str, arguments: dict[str, Any], *, timeout: float, known: bool) -> Any:
        """Return what the method returns: plain JSON, or a typed response as it stands on the wire.

        Args:
            name: the service.
            method: its method.
            arguments: its keyword arguments.
            timeout: seconds to wait.
            known: whether the director knows that service.
        """
        if method == NOTIFY_ALIVE:
            raise NotFound(f"{method} cannot be called", service=name, method=method)
        if not self.link.connected:
            raise RedisUnavailable("there is no connection to Redis", "see GET /health")
        secrets = self.secrets.values(name)
        methods = None if method.startswith("__") else self.registrations.methods(name)
        try:
            request_id = await self._grant(name, method, arguments)
            result = from_wire(await self.client.call(name, method, arguments, timeout, request_id=request_id))
        except RpcTimeout as error:
            if not known:
                raise _no_service(name) from error
            if name in SILENT_ON_UNKNOWN and methods is not None and method not in methods:
                raise no_such_method(name, method, methods) from error
            hint = "GET /show shows the service's state; timeout__ sets a longer time limit"
            raise TimedOut(str(error), hint) from error
        except RpcUnavailable as error:
            if known:
                what = f"service {name!r} is not connected to Redis"
                raise Conflict(what, f"GET /start/{name} starts it", service=name) from error
            raise _no_service(name) from error
        except RpcRemoteError as error:
            if error.code == METHOD_NOT_FOUND:
                raise no_such_method(name, method, methods) from error
            said = f"{name}.{method}: {scrub_tree(error.text, secrets)}"
            if error.code == INVALID_PARAMS and isinstance(error.data, dict) and error.data.get("path"):
                hint = f"GET /openapi.json?service={name} describes the parameters"
                raise InvalidValue(said, hint) from error
            if error.code == INVALID_PARAMS:
                raise BadParameter(said, "check the method's arguments") from error
            raise ServiceFailed(said, f"GET /logs/{name} may say more") from error
        if not isinstance(result, BaseBandResponse):
            return scrub_tree(result, secrets)
        if not result.is_error():
            return scrub_tree(result.to_wire(), secrets)
        raise ServiceFailed(
            f"{name}.{method}: {scrub_tree(result.error_message, secrets)}",
            data=scrub_tree(result.data, secrets),
            status_code=result.status_code,
        )

    async def _grant(self, name: str, method: str, arguments: dict[str, Any]) -> str:
        """Write down for a service that a call is the director's; returns its id, empty if it needs none.

        Raises:
            RedisUnavailable: Redis is unavailable, or does not permit it.
        """
        if self.users is None or method not in DIRECTOR_METHODS:
            return ""
        request_id = token_hex(16)
        key, grant = f"{self.users.grants(name)}:{request_id}", encode({"method": method, "params": arguments})
        try:
            await self.link.command("SET", key, grant, "EX", GRANT_SECONDS)
        except RedisError as error:
            raise RedisUnavailable(f"{name}.{method} was not called: {error}", "see GET /health") from error
        return request_id


def _no_service(name: str) -> NotFound:
    return NotFound(f"there is no service {name!r}", "GET /list lists the services", service=name)


def no_such_method(name: str, method: str, methods: Collection[str] | None) -> NotFound:
    """Return the error for a method that a service has not; it names those that it has, and the nearest one."""
    if not methods:
        told = "it does not list its methods" if methods is None else "it has none"
        return NotFound(
            f"service {name!r} has no method {method!r}",
            f"{told}; GET /ask_state/{name} shows its registrations",
            method=method,
        )
    return NotFound(
        f"service {name!r} has no method {method!r}",
        f"{did_you_mean(method, methods, 0.5)}It has: {', '.join(sorted(methods))}",
        method=method,
        methods=sorted(methods),
    )
