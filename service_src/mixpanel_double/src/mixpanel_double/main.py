"""The double as a service of the platform: a destination for demonstrations, with no account."""

import os
from typing import Any

from band import dome, expose, health
from mixpanel_double.app import Double, add_routes

double = Double()
double.access.set([token for token in os.environ.get("DOUBLE_TOKENS", "").replace(",", " ").split() if token], {})
dome.routes += add_routes(double)


@expose()
async def stats(**_params: Any) -> dict[str, Any]:
    """Figures since the start."""
    return double.store.stats()


@expose()
async def events(limit: int = 20, **_params: Any) -> dict[str, Any]:
    """The newest events as they came."""
    return {"events": double.store.newest(max(1, min(int(limit), 1000)))}


@expose()
async def fail(**order: Any) -> dict[str, Any]:
    """Order a fault: `/call/mixpanel_double/fail?status=429&times=3`."""
    double.faults.order(order)
    return {"orders": double.faults.open()}


@health
def counted() -> dict[str, Any]:
    """How many events it counted."""
    return {"status": "ok", "unique": double.store.stats()["unique"]}
