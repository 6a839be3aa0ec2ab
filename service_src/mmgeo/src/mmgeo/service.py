"""The service: databases of places and of networks, and what is answered from them."""

from __future__ import annotations

from typing import Any

from band import Service, settings
from geo.dataset import Dataset
from geo.service import make_dataset, register
from mmgeo.asn import Networks
from mmgeo.check import check_asn, check_city, end_with_service
from mmgeo.localized_names import RussianNames
from mmgeo.reader import Database, open_database
from mmgeo.record_mapping import make_locator
from mmgeo.sources import make_asn_sources, make_sources

service = Service()
dataset: Dataset[Database] = make_dataset("mmgeo", "city.mmdb", make_sources(settings), open_database, check_city)
asn_dataset: Dataset[Database] = make_dataset(
    "mmgeo-asn", "asn.mmdb", make_asn_sources(settings), open_database, check_asn
)
networks = Networks(asn_dataset)
locator = make_locator(dataset, RussianNames(), int(settings.cache_size or 40_000), networks)
register(service, dataset, locator, asn_dataset)
service.lifespan(end_with_service)
if asn_dataset.wanted:
    asn_dataset.show(service.metrics, "asn_dataset")


@service.worker
async def keep_networks_fresh() -> None:
    """Fetch newer databases of networks, if any source of them is named."""
    if asn_dataset.wanted:
        await asn_dataset.run()


@service.health("asn")
def asn_health() -> dict[str, Any]:
    """Tell of the optional database of networks. Being without one is no fault."""
    facts = {**asn_dataset.health(), "status": "ok", "bad_records": networks.bad_records}
    return facts if asn_dataset.wanted else {"status": "ok", "reason": "no source in ASN_SOURCES is configured"}
