"""Which enrichers an event goes to and what they are told, compiled when the registrations change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from front.answer_cache import Rule

OWN_FIELDS: Final = frozenset({"mmgeo", "sxgeo", "uaparser", "stored"})
"""What front and the platform's enrichers lay into `data`, also while they are stopped; `fpid` the SDK sends itself."""

_MISSING = object()
_NOBODY: frozenset[str] = frozenset()
_MAX_REMEMBERED = 4096
_LONGEST_REMEMBERED = 100


class Wish(NamedTuple):
    """A service that wants to hear of an event, and how its answers may be used again (None: not at all)."""

    service: str
    rule: Rule | None


class EnrichPlan:
    """Enricher keys as prefixes, and the union of the properties that all enrichers asked for."""

    __slots__ = ("_by_prefix", "_for_all", "_longest", "_props", "_remembered", "_rules", "fields", "services")

    def __init__(
        self,
        by_prefix: dict[str, frozenset[str]],
        for_all: frozenset[str],
        props: list[tuple[str, tuple[str, ...]]],
        rules: dict[str, Rule | None],
    ) -> None:
        self._by_prefix = by_prefix
        self._for_all = for_all
        self._props = props
        self._rules = rules
        self._remembered: dict[str, tuple[Wish, ...]] = {}
        self._longest = max((prefix.count(".") + 1 for prefix in by_prefix), default=0)
        self.services = for_all.union(*by_prefix.values())
        """Every service that may be asked."""
        self.fields = OWN_FIELDS | self.services
        """Names in `data` that answers lie under: no client may write there."""

    def expected(self, key: str) -> frozenset[str]:
        """The services that must hear of an event key; each once, however many of its keys match."""
        found = self._for_all
        if not self._by_prefix:
            return found
        prefix = ""
        for part in key.split(".", self._longest)[: self._longest]:
            prefix = f"{prefix}.{part}" if prefix else part
            hit = self._by_prefix.get(prefix)
            if hit is not None:
                found = found | hit if found else hit
        return found

    def wishes(self, key: str) -> tuple[Wish, ...]:
        """The services that must hear of an event key, in the order of their registrations."""
        found = self._remembered.get(key)
        if found is None:
            expected = self.expected(key)
            found = tuple([Wish(service, rule) for service, rule in self._rules.items() if service in expected])
            if len(key) > _LONGEST_REMEMBERED:  # keys are the clients' choice: forget rather than grow
                return found
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = found
        return found

    def params(self, message: dict[str, Any]) -> dict[str, Any]:
        """What enrichers are told of a message; properties that it does not have are left out."""
        told: dict[str, Any] = {}
        for name, path in self._props:
            value: Any = message
            for step in path:
                value = value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
                if value is _MISSING:
                    break
            else:
                told[name] = value
        return told


def compile_plan(rows: Iterable[tuple[str, dict[str, Any]]]) -> EnrichPlan:
    """Compile (service, options) of enricher rows. Of two properties with one name the last row's path counts."""
    by_prefix: dict[str, set[str]] = {}
    for_all: set[str] = set()
    props: dict[str, tuple[str, ...]] = {}
    rules: dict[str, Rule | None] = {}
    for service, options in rows:
        rules[service] = Rule.read(service, options.get("cache"))
        for key in options.get("keys") or ():
            if key == "*":
                for_all.add(service)
            elif isinstance(key, str) and key:
                by_prefix.setdefault(key, set()).add(service)
        wanted = options.get("props")
        if isinstance(wanted, dict):
            props.update({str(name): tuple(path.split(".")) for name, path in wanted.items() if isinstance(path, str)})
    frozen = {key: frozenset(services) for key, services in by_prefix.items()}
    return EnrichPlan(frozen, frozenset(for_all) or _NOBODY, list(props.items()), rules)
