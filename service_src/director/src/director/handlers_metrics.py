"""`/metrics` and `/metrics/<name>`: what Prometheus scrapes."""

from __future__ import annotations

from typing import Any

from band.constants import REQUEST_METRICS
from band.jsonrpc.client import RpcClient
from band.redis import RedisLink
from band.service.lifecycle import service
from director import calls, params
from director.api import Text
from director.errors import ServiceFailed
from director.metrics import CONTENT_TYPE, Metrics
from director.rows import Rows

TIMEOUT = 5.0


class MetricsHandlers:
    """The director's own figures, and those of services, which are asked for them over Redis."""

    def __init__(self, metrics: Metrics, *, rpc: RpcClient, link: RedisLink, rows: Rows) -> None:
        self._metrics = metrics
        self._rpc = rpc
        self._link = link
        self._rows = rows

    async def metrics(self, _given: params.Nothing, _rest: dict[str, Any]) -> Any:
        """`/metrics`: the director's own, and after them those that every service of the framework has."""
        return Text(self._metrics.render() + service.metrics.render().decode(), CONTENT_TYPE)

    async def service_metrics(self, given: params.ServiceParams, _rest: dict[str, Any]) -> Any:
        """`/metrics/<name>`."""
        self._rows.check(given.name)
        text = await calls.call(
            self._rpc,
            given.name,
            REQUEST_METRICS,
            {},
            timeout=TIMEOUT,
            known=True,
            connected=self._link.connected,
            secrets=self._rows.secrets(given.name),
        )
        if not isinstance(text, str):
            raise ServiceFailed(f"{given.name} does not answer with metrics", "is it of the framework band?")
        return Text(text, CONTENT_TYPE)
