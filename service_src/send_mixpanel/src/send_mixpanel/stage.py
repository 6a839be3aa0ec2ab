"""How far a request got, so that a time-out names what did not happen in time."""

from types import SimpleNamespace
from typing import Any

import aiohttp


class Stage:
    """One request on its way: it waits for a connection (perhaps for a name first), then for the answer."""

    def __init__(self, connect_timeout: float, timeout: float) -> None:
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._looked_up = ""
        self._connected = False

    def look_up(self, host: str) -> None:
        """The name is being looked up."""
        self._looked_up = host

    def found(self) -> None:
        """The name has an address."""
        self._looked_up = ""

    def connect(self) -> None:
        """There is a connection."""
        self._connected = True

    @property
    def missed(self) -> str:
        """What did not come in time, in words."""
        if self._connected:
            return f"no answer within {self._timeout:g} s"
        if self._looked_up:
            return f"DNS did not resolve {self._looked_up} within {self._connect_timeout:g} s"
        return f"no connection within {self._connect_timeout:g} s"


def stage_tracing() -> aiohttp.TraceConfig:
    """Tracing for a session whose requests have their Stage as `trace_request_ctx`."""
    config = aiohttp.TraceConfig()

    async def looks_up(_session: Any, context: SimpleNamespace, params: aiohttp.TraceDnsResolveHostStartParams) -> None:
        context.trace_request_ctx.look_up(params.host)

    async def found(_session: Any, context: SimpleNamespace, _params: Any) -> None:
        context.trace_request_ctx.found()

    async def connected(_session: Any, context: SimpleNamespace, _params: Any) -> None:
        context.trace_request_ctx.connect()

    config.on_dns_resolvehost_start.append(looks_up)
    config.on_dns_resolvehost_end.append(found)
    config.on_connection_create_end.append(connected)
    config.on_connection_reuseconn.append(connected)
    return config
