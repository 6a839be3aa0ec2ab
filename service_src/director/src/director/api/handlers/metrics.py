"""`/metrics` and `/metrics/<name>`: what Prometheus scrapes."""

from __future__ import annotations

from typing import Any

from band.constants import REQUEST_METRICS
from band.jsonrpc.client import RpcClient
from band.redis import RedisLink
from band.service.lifecycle import service
from director.api import params
from director.api.metrics import CONTENT_TYPE, Metrics
from director.api.server import Text
from director.api.service_table import Rows
from director.discovery import rpc
from director.errors import ServiceFailed

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
        text = await rpc.call(
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
