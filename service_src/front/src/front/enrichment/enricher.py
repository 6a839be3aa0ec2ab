"""Enrich one event with other services' responses, the fingerprint, and what is stored about the visitor."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

import msgspec

from band import logger
from band.platform import ENRICH, RedisLink, RpcClient, Scatter, encode, objected
from front.enrichment.circuit_breaker import CircuitBreaker
from front.enrichment.groups import field_of
from front.enrichment.response_cache import ResponseCache
from front.enrichment.visitor_store import Stored, VisitorStore
from front.event.fingerprint import Fingerprint, fpid
from front.event.message import KEY_PREFIX, Message
from front.event.trace import ABSENT, CACHED, ERROR, OK, TIMEOUT, Trace
from front.event.unicode_repair import whole_pairs
from front.routing.enrichment_plan import CacheKey, CacheRule, EnricherRule, EnrichPlan

_TRACK = f"{KEY_PREFIX}.track."
_NOBODY: frozenset[str] = frozenset()


class Enricher:
    """Adds enrichments to the `data` of a message, in place. Never raises, never outlasts its deadline (seconds)."""

    def __init__(
        self,
        rpc: RpcClient,
        link: RedisLink,
        breaker: CircuitBreaker,
        *,
        timeout: float,
        stored: bool = True,
        fingerprint: Fingerprint | None = fpid,
        cache: ResponseCache | None = None,
    ) -> None:
        self.cache = cache or ResponseCache()
        self._rpc = rpc
        self._link = link
        self._breaker = breaker
        self._groups = rpc.service_groups
        self._refused_groups: set[str] = set()
        self._timeout = timeout
        self._visitors = VisitorStore(link) if stored else None
        self._fingerprint = fingerprint

    async def enrich(self, message: Message, plan: EnrichPlan, trace: Trace | None = None) -> frozenset[str] | set[str]:
        """Enrich one message; returns the silent services. Overwrites what the client sent under the same names.

        A sender who objects gets no fingerprint, and nothing that is stored about it is read.
        """
        tracked = message["key"].startswith(_TRACK) and not objected(message)
        stored: Stored = None
        reading: asyncio.Future[Stored] | None = None
        deadline = 0.0
        if tracked and self._visitors is not None:
            uid = str(message["uid"])
            known, stored = self._visitors.known(uid)
            if not known:
                deadline = asyncio.get_running_loop().time() + self._timeout
                reading = self._visitors.read(uid)
        rules = plan.rules(message["key"])
        silent = await self._ask_services(message, plan, rules, trace or Trace(0)) if rules else _NOBODY
        data = message["data"]
        if tracked and self._fingerprint is not None:
            td = message.get("td") or {}
            ip, user_agent = td.get("ip"), td.get("ua")
            if ip and user_agent:
                data["fpid"] = self._fingerprint(ip, user_agent)
        if reading is not None:
            stored = await _by(reading, deadline)
        if stored is not None:
            data["stored"] = stored
        return silent

    async def _ask_services(
        self, message: Message, plan: EnrichPlan, rules: tuple[EnricherRule, ...], trace: Trace
    ) -> set[str]:
        """Add the services' responses to the message, in the order of their registrations; returns the silent ones."""
        shared = plan.params(message)
        now = asyncio.get_running_loop().time()
        found: dict[str, Any] = {}
        asked: dict[str, tuple[CacheRule, CacheKey] | None] = {}
        apart: dict[str, dict[str, Any]] = {}
        silent: set[str] = set()
        for service, rule, own in rules:
            params = shared if own is None else plan.params(message, own)
            key = rule.key(params) if rule is not None else None
            answer = self.cache.get(key, now) if key is not None else None
            if answer is not None:
                found[service] = answer
                trace.enriched(service, CACHED)
            elif service in self._breaker.absent:
                silent.add(service)
                trace.enriched(service, ABSENT)
            else:
                asked[service] = None if rule is None or key is None else (rule, key)
                if own is not None:
                    apart[service] = params
        if asked:
            epoch = self.cache.epoch
            if apart:
                scattered = await self._ask_apart(tuple(asked), shared, apart, trace)
            else:
                scattered = [await self._ask(frozenset_of(tuple(asked)), shared, trace)]
            for answers in scattered:
                silent |= answers.missing
                for service, result in answers.results.items():
                    found[service] = self._take(result, asked[service] if epoch == self.cache.epoch else None, now)
        data = message["data"]
        if self._groups:
            data.update(self._by_field(found, rules, plan))
            return silent
        for service, _, _ in rules:
            if service in found:
                data[service] = found[service]
        return silent

    def use(self, plan: EnrichPlan) -> None:
        """Take the enrichers of new registrations: forget responses, and the groups of those that are gone."""
        self.cache.clear()
        self._refused_groups.clear()
        for service in [service for service in self._groups if service not in plan.services]:
            del self._groups[service]
        plan.reserve(field_of(service, self._groups, plan.services) for service in self._groups)

    def _by_field(self, found: dict[str, Any], rules: tuple[EnricherRule, ...], plan: EnrichPlan) -> dict[str, Any]:
        """Return responses under the names of groups: the first registration's that answered counts for its group."""
        fields: dict[str, Any] = {}
        for service, _, _ in rules:
            if service in found:
                field = field_of(service, self._groups, plan.services)
                fields.setdefault(field, found[service])
                if field == service != self._groups.get(service, service):
                    self._refuse_group(service)
        if not fields.keys() <= plan.fields:
            plan.reserve(fields)
        return fields

    def _refuse_group(self, service: str) -> None:
        """Log, once for each table of registrations, that a service is not stored under the group that it names."""
        if service not in self._refused_groups:
            self._refused_groups.add(service)
            logger.warning(
                "service_group_refused",
                service=service,
                group=self._groups[service],
                hint="it may only be the beginning of the service's own name, as `uap` of `uap_1`, and of no service "
                "outside the group; until then the event has the enrichment under the service's name",
            )

    async def _ask_apart(
        self, services: tuple[str, ...], shared: dict[str, Any], apart: dict[str, dict[str, Any]], trace: Trace
    ) -> list[Scatter]:
        """Ask services, those `apart` with params of their own."""
        together = tuple([service for service in services if service not in apart])
        asking = [self._ask(frozenset_of((service,)), params, trace) for service, params in apart.items()]
        if together:
            asking.append(self._ask(frozenset_of(together), shared, trace))
        return await asyncio.gather(*asking)

    async def _ask(self, services: frozenset[str], params: dict[str, Any], trace: Trace) -> Scatter:
        answers = await self._rpc.scatter(ENRICH, ENRICH, params, expect=services, timeout=self._timeout, raw=True)
        missing = answers.missing
        if self._link.connected:
            now = asyncio.get_running_loop().time()
            self._breaker.note(services - missing if missing else services, missing, params, now)
        elapsed = answers.elapsed_ms
        for service in services:
            status = TIMEOUT if service in missing else ERROR if service in answers.errors else OK
            trace.enriched(service, status, elapsed.get(service, 0.0))
        return answers

    def _take(self, result: Any, keeping: tuple[CacheRule, CacheKey] | None, asked_at: float) -> Any:
        """Return a response in the form for the event, and cache it if allowed; errors are handled elsewhere.

        The JSON is copied: it is a part of one message with the responses to many events.
        """
        if isinstance(result, msgspec.Raw):
            json = whole_pairs(bytes(result))  # it is UTF-8: `scatter` has seen to that
            result = msgspec.Raw(json)
        else:
            json = b"" if keeping is None else encode(result)
        if keeping is not None:
            rule, key = keeping
            self.cache.put(key, json, rule.ttl, asked_at)
        return result


@lru_cache(maxsize=1024)
def frozenset_of(services: tuple[str, ...]) -> frozenset[str]:
    """Return the same object for the same services: it is the key under which events of one turn are asked together."""
    return frozenset(services)


async def _by(reading: asyncio.Future[Stored], deadline: float) -> Stored:
    """Return the stored data, if Redis responds before the deadline."""
    if reading.done():
        return reading.result()
    timer = asyncio.get_running_loop().call_at(deadline, _give_up, reading)
    try:
        return await reading
    finally:
        timer.cancel()


def _give_up(reading: asyncio.Future[Stored]) -> None:
    if not reading.done():
        reading.set_result(None)
