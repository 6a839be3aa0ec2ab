"""Replicas of a service group fill one field of an event's data, and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest
from test_front_enriching import Services, Store, enricher, event, plan

from front.enrichment.groups import field_of

UAP = {"uap_1": "uap", "uap_2": "uap"}


@pytest.mark.parametrize(
    ("service", "group", "field"),
    [
        ("uap_1", "uap", "uap"),
        ("uap-blue", "uap", "uap"),
        ("uap2", "uap", "uap"),
        ("mmgeo.ru.1", "mmgeo.ru", "mmgeo.ru"),
        ("uap", "uap", "uap"),
        ("evil", "mmgeo", "evil"),
        ("mmgeology", "mmgeo", "mmgeology"),
        ("uap_1", "uap_1x", "uap_1"),
        ("uap_1", "", "uap_1"),
        ("page_1", "page", "page_1"),
        ("stored_1", "stored", "stored_1"),
        ("data2", "data", "data2"),
    ],
)
def test_a_group_is_the_beginning_of_its_services_names(service: str, group: str, field: str) -> None:
    """A service may shorten its own name; it takes neither another's nor one that clients or front write."""
    assert field_of(service, {service: group}, {service}) == field


def test_a_name_that_another_enricher_has_is_its_own() -> None:
    """A service called as the group keeps its field to itself, unless it says that it is of the group."""
    services = {"uap", "uap_1"}
    assert field_of("uap_1", {"uap_1": "uap"}, services) == "uap_1"
    assert field_of("uap_1", {"uap_1": "uap", "uap": "other"}, services) == "uap_1"
    assert field_of("uap_1", {"uap_1": "uap", "uap": "uap"}, services) == "uap"


async def test_the_first_registered_of_a_group_that_answers_counts() -> None:
    """Both fill one field: the first registration's answer, the other's where the first is silent."""
    services = Services({"uap_1": 1, "uap_2": 2, "geo": 3})
    services.service_groups.update(UAP)
    message = event(other=0)
    await enricher(services, Store({})).enrich(message, plan("uap_1", "geo", "uap_2"))
    assert message["data"] == {"other": 0, "uap": 1, "geo": 3, "fpid": message["data"]["fpid"]}
    del services.results["uap_1"]
    message = event()
    assert await enricher(services, Store({})).enrich(message, plan("uap_1", "uap_2")) == {"uap_1"}
    assert message["data"]["uap"] == 2


async def test_the_field_of_a_group_is_reserved_like_a_services() -> None:
    """Once a reply has named the group no client may write there, under new registrations neither."""
    services = Services({"uap_1": 1})
    services.service_groups.update(UAP)
    ours, known = enricher(services, Store({})), plan("uap_1")
    assert "uap" not in known.fields
    await ours.enrich(event(), known)
    assert "uap" in known.fields
    ours.use(following := plan("uap_1", "geo"))
    assert "uap" in following.fields
    assert services.service_groups == {"uap_1": "uap"}
    ours.use(gone := plan("geo"))
    assert "uap" not in gone.fields
    assert services.service_groups == {}


async def test_a_group_that_is_refused_is_logged_once(caplog: Any, monkeypatch: Any) -> None:
    """What a hostile service answers stands under its own name; the log says why, once."""
    told: list[str] = []
    monkeypatch.setattr("front.enrichment.enricher.logger.warning", lambda name, **_: told.append(name), raising=False)
    services = Services({"evil": {"city": "X"}, "mmgeo": {"city": "London"}})
    services.service_groups["evil"] = "mmgeo"
    ours = enricher(services, Store({}))
    for _ in range(3):
        message = event(page={"url": "u"})
        await ours.enrich(message, plan("mmgeo", "evil"))
        assert message["data"]["mmgeo"] == {"city": "London"}
        assert message["data"]["evil"] == {"city": "X"}
    assert told == ["service_group_refused"]
