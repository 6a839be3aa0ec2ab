"""The double as a service of the platform: a destination for demonstrations, with no account."""

from typing import Any

from band import InvalidParams, Service, settings
from band.platform import words
from mixpanel_double.app import Double, add_routes
from mixpanel_double.faults import FaultError
from mixpanel_double.rules import MAX_BODY

service = Service()
double = Double(max_body=int(settings.max_body or MAX_BODY), id_field=str(settings.id_field or "insert_id"))
double.access.set(words(str(settings.tokens or "")), {})
service.dome.routes += add_routes(double)


@service.expose()
async def stats() -> dict[str, Any]:
    """Figures since the start."""
    return double.store.stats()


@service.expose()
async def events(limit: int = 20) -> dict[str, Any]:
    """The newest events as they came."""
    return {"events": double.store.newest(max(1, min(limit, 1000)))}


@service.expose()
async def fail(**order: Any) -> dict[str, Any]:
    """Order a fault: `/call/mixpanel_double/fail?status=429&times=3`.

    Raises:
        InvalidParams: there is no such order; the text says what can be ordered.
    """
    try:
        double.faults.order(order)
    except FaultError as error:
        raise InvalidParams(str(error)) from None
    return {"orders": double.faults.open()}


@service.health
def counted() -> dict[str, Any]:
    """How many events it counted."""
    return {"status": "ok", "unique": double.store.stats()["unique"]}
