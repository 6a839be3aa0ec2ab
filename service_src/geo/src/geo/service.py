"""The functions and settings of every geo service."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import band
from band import Service
from band.platform import words
from geo.dataset import Checker, Dataset, Loader, Source
from geo.lookup import Locator

T = TypeVar("T")
_OPEN_SECONDS = 30.0


def make_dataset(
    name: str, file: str, sources: list[Source], load: Loader[T], check: Checker | None = None
) -> Dataset[T]:
    """Return the dataset in ``data_dir``, with refresh and staleness from the settings."""
    return Dataset(
        name,
        Path(band.settings.data_dir or "/data") / file,
        sources,
        load,
        check,
        refresh_hours=float(band.settings.refresh_hours or 24),
        stale_days=float(band.settings.stale_days or 60),
    )


def register(service: Service, dataset: Dataset[T], locator: Locator[T], *more: Dataset[Any]) -> None:
    """Expose ``enrich``, ``get`` and ``refresh``, report the database in health, and keep it fresh.

    Args:
        service: gets the functions.
        dataset: the database of places.
        locator: answers from it.
        more: databases that add to a place; opened and asked for with the other.
    """
    dataset.show(service.metrics)

    @service.setup
    async def open_database() -> None:
        """Open the existing database before the first call: a new container must not answer worse than the old one.

        A check of the file may take longer than the director waits for a service: then it continues in the background.
        """
        opening = [asyncio.create_task(one.open()) for one in (dataset, *more)]
        await asyncio.wait(opening, timeout=_OPEN_SECONDS)

    @service.worker
    async def keep_fresh() -> None:
        """Fetch newer databases of places."""
        await dataset.run()

    @service.health("database")
    def database_health() -> dict[str, Any]:
        """Return source, build date, age and the last error of the database."""
        return {**dataset.health(), "bad_records": locator.bad_records}

    @service.expose.enricher(
        keys=words(band.settings.enrich_keys), props={"ip": "td.ip"}, cache=300, cache_version=lambda: locator.version
    )
    def enrich(ip: Any = None, **_params: Any) -> msgspec.Raw:
        """Return the place of an event's address, encoded as JSON; without one, only a ``reason``."""
        return locator.answer(ip)

    @service.expose()
    def get(ip: Any = None) -> dict[str, Any]:
        """Return the place of any address."""
        return locator.locate(ip)

    @service.expose()
    async def refresh() -> dict[str, Any]:
        """Ask the sources now, in the background; return the current health."""
        for one in (dataset, *more):
            one.wake()
        return dataset.health()
