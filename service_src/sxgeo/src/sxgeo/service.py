"""The service: which functions are offered, and what they answer while there is no database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from band import expose, health, settings, setup, worker
from band.config import words
from band.service.lifecycle import service as running
from geo.dataset import Dataset
from geo.lookup import Locator
from sxgeo.reader import SypexReader, open_sypex
from sxgeo.record_mapping import find, read
from sxgeo.sources import make_sources

dataset: Dataset[SypexReader] = Dataset(
    "sxgeo",
    Path(settings.data_dir or "/data") / "sxgeo.dat",
    make_sources(settings),
    open_sypex,
    refresh_hours=float(settings.refresh_hours or 24),
    stale_days=float(settings.stale_days or 60),
)
dataset.show(running.metrics)
locator: Locator[SypexReader] = Locator(dataset, find, read, int(settings.cache_size or 10_000))


@setup()
async def open_database() -> None:
    """Open the database that is there before anybody asks: a new container must not answer worse than the old one."""
    await dataset.open()


@worker()
async def keep_fresh() -> None:
    """Fetch newer databases."""
    await dataset.run()


@health("database")
def database_health() -> dict[str, Any]:
    """Tell source, build date, age and the last error of the database."""
    return {**dataset.health(), "bad_records": locator.bad_records}


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
    return dataset.health()
