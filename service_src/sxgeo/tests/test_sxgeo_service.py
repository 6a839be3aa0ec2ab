"""The service on the bench: what front, the director and people get."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from band import testing

IMAGE = Path(__file__).resolve().parents[3] / "band_images" / "sxgeo"


@pytest.fixture
async def sxgeo(test_data: Path, tmp_path: Path) -> AsyncIterator[testing.Bench]:
    """The service with its image's settings, and a database that an earlier run left."""
    shutil.copy(test_data / "sypex" / "synthetic_city.dat", tmp_path / "sxgeo.dat")
    env = {"DATA_DIR": str(tmp_path), "GEO_SOURCES": ""}
    with testing.imported("sxgeo.service", IMAGE, **env) as module:
        async with testing.running(subject=module.service, name="sxgeo") as bench:
            yield bench


async def test_events_of_its_keys_get_a_place(sxgeo: testing.Bench) -> None:
    """The address comes from `td.ip`; without one the answer says so; other events are none of its own."""
    event = testing.make_event(td={"ip": "77.88.8.8"})
    assert (await sxgeo.enrich(event))["city_en"] == "Moscow"
    assert "reason" in await sxgeo.enrich(testing.make_event(td={}))
    assert await sxgeo.enrich({**event, "key": "in.gen.hook.x"}) is None


async def test_it_registers_with_the_version_of_its_data(sxgeo: testing.Bench) -> None:
    """front may keep an answer for five minutes, until there is another database."""
    (row,) = (await sxgeo.call("__status"))["register"]
    assert (row["method"], row["role"]) == ("enrich", "enricher")
    options = row["options"]
    assert (options["keys"], options["props"]) == (["in.gen.track"], {"ip": "td.ip"})
    assert (options["cache"]["props"], options["cache"]["ttl"]) == (["ip"], 300)
    assert options["cache"]["version"]


async def test_people_ask_for_any_address(sxgeo: testing.Bench) -> None:
    """`get` answers as `enrich` does; `refresh` and health tell of the database."""
    assert (await sxgeo.call("get", ip="77.88.8.8"))["city_en"] == "Moscow"
    assert "reason" in await sxgeo.call("get", ip="no address")
    facts = (await sxgeo.call("__status"))["health"]["checks"]["database"]
    assert facts["bad_records"] == 0
    assert (await sxgeo.call("refresh"))["build_date"] == facts["build_date"]
