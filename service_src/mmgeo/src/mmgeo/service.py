"""The service: which functions are offered, and what they answer while there is no database."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from band import expose, health, settings, setup, worker
from band.config import words
from band.service.lifecycle import service as running
from geo.dataset import Dataset
from mmgeo.asn import Networks
from mmgeo.localized_names import RussianNames
from mmgeo.locator import make_locator
from mmgeo.reader import CityReader, open_asn, open_city
from mmgeo.sources import make_asn_sources, make_sources

dataset: Dataset[CityReader] = Dataset(
    "mmgeo",
    Path(settings.data_dir or "/data") / "city.mmdb",
    make_sources(settings),
    open_city,
    refresh_hours=float(settings.refresh_hours or 24),
    stale_days=float(settings.stale_days or 60),
)
dataset.show(running.metrics)
asn_dataset: Dataset[CityReader] = Dataset(
    "mmgeo-asn",
    Path(settings.data_dir or "/data") / "asn.mmdb",
    make_asn_sources(settings),
    open_asn,
    refresh_hours=float(settings.refresh_hours or 24),
    stale_days=float(settings.stale_days or 60),
)
if asn_dataset.wanted:
    asn_dataset.show(running.metrics, "asn_dataset")
networks = Networks(asn_dataset)
locator = make_locator(dataset, RussianNames(), int(settings.cache_size or 40_000), networks)


@setup()
async def open_database() -> None:
    """Open the database that is there before anybody asks: a new container must not answer worse than the old one."""
    await asyncio.gather(dataset.open(), asn_dataset.open())


@worker()
async def keep_fresh() -> None:
    """Fetch newer databases of places."""
    await dataset.run()


@worker()
async def keep_networks_fresh() -> None:
    """Fetch newer databases of networks, if any source of them is named."""
    if asn_dataset.wanted:
        await asn_dataset.run()


@health("database")
def database_health() -> dict[str, Any]:
    """Tell source, build date, age and the last error of the database."""
    return {**dataset.health(), "bad_records": locator.bad_records}


@health("asn")
def asn_health() -> dict[str, Any]:
    """Tell the same of the optional database of networks. Being without one is no fault."""
    facts = {**asn_dataset.health(), "status": "ok", "bad_records": networks.bad_records}
    return facts if asn_dataset.wanted else {"status": "ok", "reason": "ASN_SOURCES names no source that is set up"}


@expose.enricher(
    keys=words(settings.enrich_keys), props={"ip": "td.ip"}, cache=300, cache_version=lambda: locator.version
)
def enrich(ip: Any = None, **_params: Any) -> msgspec.Raw:
    """Return the place of an event's address, written already; without one, an empty answer with ``reason``."""
    return locator.answer(ip)


@expose()
def get(ip: Any = None, **_params: Any) -> dict[str, Any]:
    """Return the place of any address."""
    return locator.locate(ip)


@expose()
async def refresh(**_params: Any) -> dict[str, Any]:
    """Ask the sources now, in the background; return what health knows at this moment."""
    dataset.wake()
    asn_dataset.wake()
    return dataset.health()
