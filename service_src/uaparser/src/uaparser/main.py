"""What the service offers: `enrich` for front, `parse` for people, its health."""

from typing import Any

import msgspec

from band import Service, settings
from band.platform import words
from uaparser.hints import PROPS, Hints
from uaparser.parser import UaParser

NO_UA = msgspec.Raw(b'{"reason":"no User-Agent in the event"}')

service = Service()
parser = UaParser(cache_mb=float(settings.cache_mb or 32))


@service.expose.enricher(keys=words(settings.enrich_keys or "in.gen.track"), props={"ua": "td.ua", **PROPS}, cache=3600)
def enrich(ua: Any = None, **params: Any) -> msgspec.Raw:
    """System, browser, device and bot verdict of `ua`, by client hints where there are any. Says so without a `ua`."""
    if not isinstance(ua, str) or not ua:
        return NO_UA
    return parser.answer(ua, Hints.of(params) if "ch_ua" in params else None)


@service.expose()
def parse(ua: str = "", **params: Any) -> msgspec.Raw:
    """The same for a person: `/call/uaparser/parse?ua=…`."""
    return enrich(ua=ua, **params)


@service.health
def cache() -> dict[str, Any]:
    """Facts of the cache; parsing itself needs nothing from outside and cannot be away."""
    return {"status": "ok", "cached": parser.cached(), "capacity": parser.capacity, "parsed": parser.parsed}
