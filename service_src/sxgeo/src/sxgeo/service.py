"""The service: a database of places, and what is answered from it."""

from __future__ import annotations

from band import Service, settings
from geo.dataset import Dataset
from geo.lookup import Locator
from geo.service import make_dataset, register
from sxgeo.reader import SypexReader, open_sypex
from sxgeo.record_mapping import find, read
from sxgeo.sources import make_sources

service = Service()
dataset: Dataset[SypexReader] = make_dataset("sxgeo", "sxgeo.dat", make_sources(settings), open_sypex)
locator: Locator[SypexReader] = Locator(dataset, find, read, int(settings.cache_size or 10_000))
register(service, dataset, locator)
