"""What the service offers: `enrich` for front, `parse` for people, its health."""

from typing import Any

from band import expose, health, settings
from uaparser.parser import UaParser

NO_UA = {"reason": "no User-Agent in the event"}

parser = UaParser(cache_mb=float(settings.cache_mb or 32))
_keys = [key for key in str(settings.enrich_keys or "in.gen.track").replace(",", " ").split() if key]


@expose.enricher(keys=_keys, props={"ua": "td.ua"})
def enrich(ua: Any = None, **_params: Any) -> dict[str, Any]:
    """System, browser, device and bot verdict of `ua`. Without one, an answer that says so."""
    return parser.parse(ua) if isinstance(ua, str) and ua else NO_UA


@expose()
def parse(ua: str = "", **_params: Any) -> dict[str, Any]:
    """The same for a person: `/call/uaparser/parse?ua=…`."""
    return enrich(ua=ua)


@health
def cache() -> dict[str, Any]:
    """Facts of the cache; parsing itself needs nothing from outside and cannot be away."""
    return {"status": "ok", "cached": parser.cached(), "capacity": parser.capacity, "parsed": parser.parsed}
