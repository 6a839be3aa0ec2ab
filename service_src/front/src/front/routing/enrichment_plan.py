"""Which enrichers are asked about an event, and with which parameters; compiled when the registrations change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple, TypeGuard

from front.errors import UnusableRow
from front.event.message import key_prefixes

OWN_FIELDS: Final = frozenset({"mmgeo", "sxgeo", "uaparser", "stored"})
"""Fields of `data` that front and the platform's enrichers fill, reserved also while these are stopped. The SDK sends
`fpid` itself."""

MAX_NAME_LENGTH: Final = 200
MAX_KEYS: Final = 1000
MAX_PROPS: Final = 100
_MAX_CACHED = 4096
_MAX_CACHED_LENGTH = 100
MAX_TTL_SECONDS: Final = 24 * 3600.0

CacheKey = tuple[str | None, ...]
Path = tuple[str, ...]
Props = dict[str, Path]
"""Parameter -> where in the message its value stands."""
Places = tuple[tuple[Path, tuple[tuple[str, str], ...]], ...]
"""The same by object of the message: where that is -> parameters, each with the name of its field there."""


class CacheRule(NamedTuple):
    """How responses of an enricher may be cached: `options.cache` of its registration."""

    service: str
    props: tuple[str, ...]
    """The only parameters that a response depends on."""
    ttl: float
    """Seconds."""

    @classmethod
    def read(cls, service: str, option: Any) -> CacheRule | None:
        """Return the rule of `{"props": ["ip"], "ttl": 300}`; None when there is none, or it makes no sense."""
        if not isinstance(option, Mapping):
            return None
        props, ttl = option.get("props"), option.get("ttl")
        if not isinstance(props, list) or not props or not all(isinstance(prop, str) for prop in props):
            return None
        if not isinstance(ttl, (int, float)) or isinstance(ttl, bool) or not ttl > 0:
            return None
        return cls(service, tuple(props), float(min(ttl, MAX_TTL_SECONDS)))

    def key(self, params: Mapping[str, Any]) -> CacheKey | None:
        """Return the cache key of these parameters; None if the response cannot be cached.

        A missing parameter is part of the key. Only text is compared: 1, 1.0 and true differ for an enricher, but not
        for a dictionary.
        """
        key: list[str | None] = [self.service]
        for prop in self.props:
            value = None
            if prop in params:
                value = params[prop]
                if type(value) is not str:
                    return None
            key.append(value)
        return tuple(key)


class EnricherRow(NamedTuple):
    """One registration of an enricher, checked."""

    service: str
    keys: tuple[str, ...]
    props: Props
    rule: CacheRule | None


class EnricherRule(NamedTuple):
    """A service that enriches an event, and how its responses may be cached (None: not at all)."""

    service: str
    rule: CacheRule | None
    own: Places | None
    """Its own parameters, if they differ from the shared ones."""


class EnrichPlan:
    """Enrichers by key prefix, and the properties that they register.

    All get the union of them, in one request, as in the original. If two services register different properties under
    one name, the union has the first registration's, and the other service gets its own in a separate request: no
    service can change another one's parameters.
    """

    __slots__ = (
        "_by_prefix", "_for_all", "_longest", "_own", "_rules", "_selected", "_shared", "dropped", "fields", "services",
    )  # fmt: skip

    def __init__(self, rows: Iterable[EnricherRow] = ()) -> None:
        by_prefix: dict[str, set[str]] = {}
        for_all: set[str] = set()
        props: dict[str, Props] = {}
        self._rules: dict[str, CacheRule | None] = {}
        for service, keys, wanted, rule in rows:
            self._rules[service] = rule
            props.setdefault(service, {}).update(wanted)
            for key in keys:
                (for_all if key == "*" else by_prefix.setdefault(key, set())).add(service)
        self._by_prefix = {key: frozenset(services) for key, services in by_prefix.items()}
        self._for_all = frozenset(for_all)
        union: Props = {}
        for wanted in props.values():
            union = {**wanted, **union}
        self._shared = _places(union)
        self._own = {
            service: _places({**union, **wanted})
            for service, wanted in props.items()
            if not wanted.items() <= union.items()
        }
        self._selected = lru_cache(_MAX_CACHED)(self._select)
        self._longest = max((prefix.count(".") + 1 for prefix in by_prefix), default=0)
        self.services = self._for_all.union(*by_prefix.values())
        """Every service that may be asked."""
        self.fields = OWN_FIELDS | self.services
        """Fields of `data` that are reserved for responses: no client may write there."""
        self.dropped: set[str] = set()
        """Those that clients did send, without the platform's own."""

    def reserve(self, fields: Iterable[str]) -> None:
        """Reserve further fields: those of service groups, which only replies tell."""
        self.fields = self.fields.union(fields)

    @property
    def told_apart(self) -> list[str]:
        """Services that mean something else by a property's name than a service that registered before them."""
        return sorted(self._own)

    def expected(self, key: str) -> frozenset[str]:
        """Return the services that enrich an event key; each once, however many of its keys match."""
        found = self._for_all
        for prefix in islice(key_prefixes(key), self._longest):
            hit = self._by_prefix.get(prefix)
            if hit is not None:
                found = found | hit if found else hit
        return found

    def rules(self, key: str) -> tuple[EnricherRule, ...]:
        """Return the services that enrich an event key, in the order of their registrations."""
        return self._selected(key) if len(key) <= _MAX_CACHED_LENGTH else self._select(key)

    def _select(self, key: str) -> tuple[EnricherRule, ...]:
        expected = self.expected(key)
        return tuple(
            [EnricherRule(name, rule, self._own.get(name)) for name, rule in self._rules.items() if name in expected]
        )

    def params(self, message: dict[str, Any], own: Places | None = None) -> dict[str, Any]:
        """Return the parameters of enrichers (or of one, by its `own` properties) for a message; none is null."""
        told: dict[str, Any] = {}
        for path, fields in self._shared if own is None else own:
            place: Any = message
            for step in path:
                place = place.get(step)
                if not isinstance(place, dict):
                    break
            else:
                for name, field in fields:
                    if field in place:
                        told[name] = place[field]
        return told


def _places(props: Props) -> Places:
    found: dict[Path, list[tuple[str, str]]] = {}
    for name, path in props.items():
        found.setdefault(path[:-1], []).append((name, path[-1]))
    return tuple([(path, tuple(fields)) for path, fields in found.items()])


def read_enricher(service: str, options: Mapping[str, Any]) -> EnricherRow:
    """Check an enricher's registration. UnusableRow if it exceeds the limits."""
    keys = [key for key in options.get("keys") or () if isinstance(key, str) and key]
    wanted = options.get("props")
    named = wanted if isinstance(wanted, Mapping) else {}
    props = {name: path for name, path in named.items() if isinstance(name, str) and isinstance(path, str)}
    if len(keys) > MAX_KEYS or len(props) > MAX_PROPS:
        raise UnusableRow(f"more than {MAX_KEYS} `keys` or {MAX_PROPS} `props`")
    if not all(map(is_word, (*keys, *props, *props.values()))):
        raise UnusableRow(f"its `keys` and `props` must be printable strings of at most {MAX_NAME_LENGTH} characters")
    paths = {name: tuple(path.split(".")) for name, path in props.items()}
    return EnricherRow(service, tuple(keys), paths, CacheRule.read(service, options.get("cache")))


def is_word(value: Any) -> TypeGuard[str]:
    """Return whether a value is a text that can stand in messages, logs and metrics: printable, not empty, not long."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_LENGTH and value.isprintable()
