"""The service on the bench: what front, the director and people get."""

from __future__ import annotations

import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from band import testing

IMAGE = Path(__file__).resolve().parents[3] / "band_images" / "mmgeo"


@pytest.fixture
async def mmgeo(mmdb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[testing.Bench]:
    """The service with its image's settings, and a database that an earlier run left."""
    shutil.copy(mmdb / "test-data" / "GeoIP2-City-Test.mmdb", tmp_path / "city.mmdb")
    monkeypatch.setattr("mmgeo.check._stopping", threading.Event())  # the process goes on when the service stops
    env = {"DATA_DIR": str(tmp_path), "GEO_SOURCES": "", "ASN_SOURCES": ""}
    with testing.imported("mmgeo.service", IMAGE, **env) as module:
        async with testing.running(subject=module.service, name="mmgeo") as bench:
            yield bench


async def test_events_of_its_keys_get_a_place(mmgeo: testing.Bench) -> None:
    """The address comes from `td.ip`; without one the answer says so; other events are none of its own."""
    event = testing.make_event(td={"ip": "2.125.160.216"})
    assert (await mmgeo.enrich(event))["city_en"] == "Boxford"
    assert "reason" in await mmgeo.enrich(testing.make_event(td={}))
    assert await mmgeo.enrich({**event, "key": "in.gen.hook.x"}) is None


async def test_it_registers_with_the_version_of_its_data(mmgeo: testing.Bench) -> None:
    """front may keep an answer for five minutes, until there is another database."""
    (row,) = (await mmgeo.call("__status"))["register"]
    assert (row["method"], row["role"]) == ("enrich", "enricher")
    options = row["options"]
    assert (options["keys"], options["props"]) == (["in.gen.track"], {"ip": "td.ip"})
    assert (options["cache"]["props"], options["cache"]["ttl"]) == (["ip"], 300)
    assert options["cache"]["version"]


async def test_people_ask_for_any_address(mmgeo: testing.Bench) -> None:
    """`get` answers as `enrich` does; `refresh` and health tell of the database."""
    assert (await mmgeo.call("get", ip="2.125.160.216"))["city_en"] == "Boxford"
    assert "reason" in await mmgeo.call("get", ip="no address")
    facts = (await mmgeo.call("__status"))["health"]["checks"]["database"]
    assert facts["bad_records"] == 0
    assert (await mmgeo.call("refresh"))["build_date"] == facts["build_date"]


async def test_no_database_of_networks_is_no_fault(mmgeo: testing.Bench) -> None:
    """It is optional; health says that none is wanted."""
    facts = (await mmgeo.call("__status"))["health"]["checks"]["asn"]
    assert facts == {"status": "ok", "reason": "no source in ASN_SOURCES is configured"}
