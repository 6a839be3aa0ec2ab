"""What the service offers: `enrich` for front, `parse` for people, its health."""

from typing import Any

import msgspec

from band import expose, health, settings
from uaparser.hints import PROPS, Hints
from uaparser.parser import UaParser

NO_UA = msgspec.Raw(b'{"reason":"no User-Agent in the event"}')

parser = UaParser(cache_mb=float(settings.cache_mb or 32))
_keys = [key for key in str(settings.enrich_keys or "in.gen.track").replace(",", " ").split() if key]


@expose.enricher(keys=_keys, props={"ua": "td.ua", **PROPS}, cache=3600)
def enrich(ua: Any = None, **params: Any) -> msgspec.Raw:
    """System, browser, device and bot verdict of `ua`, by client hints where there are any. Says so without a `ua`."""
    if not isinstance(ua, str) or not ua:
        return NO_UA
    return parser.answer(ua, Hints.of(params) if "ch_ua" in params else None)


@expose()
def parse(ua: str = "", **params: Any) -> msgspec.Raw:
    """The same for a person: `/call/uaparser/parse?ua=…`."""
    return enrich(ua=ua, **params)


@health
def cache() -> dict[str, Any]:
    """Facts of the cache; parsing itself needs nothing from outside and cannot be away."""
    return {"status": "ok", "cached": parser.cached(), "capacity": parser.capacity, "parsed": parser.parsed}
