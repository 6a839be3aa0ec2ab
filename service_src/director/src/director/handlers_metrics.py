"""`/metrics`: what Prometheus scrapes."""

from __future__ import annotations

from typing import Any

from band.service import service
from director import params
from director.api import Text
from director.metrics import CONTENT_TYPE, Metrics


class MetricsHandlers:
    """The director's own figures, and after them those that every service of the framework has."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def metrics(self, _given: params.Nothing, _rest: dict[str, Any]) -> Any:
        """`/metrics`."""
        return Text(self._metrics.render() + service.metrics.render().decode(), CONTENT_TYPE)
