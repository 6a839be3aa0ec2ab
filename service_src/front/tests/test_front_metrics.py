"""What front counts: it begins at 0, and says what it is."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from band.telemetry.metrics import Metrics
from front.metrics import COUNTED, Counters


def shown(metrics: Metrics) -> dict[str, tuple[float, str]]:
    """Return value and help of each counter of front."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        family.name: (family.samples[0].value, family.documentation)
        for family in families
        if family.name.startswith("band_front_")
    }


def test_counters_begin_at_0_so_that_their_first_increase_shows() -> None:
    """Prometheus sees no increase in a counter that comes into being with a 1."""
    metrics = Metrics()
    counters = Counters(metrics)
    assert shown(metrics) == {f"band_front_{name}": (0.0, text) for name, text in COUNTED.items()}
    counters.add("accepted")
    assert shown(metrics)["band_front_accepted"][0] == 1.0


def test_every_counter_says_what_it_counts() -> None:
    """Those whose names are not known ahead, too; odd letters of a service's name become what metrics allow."""
    metrics = Metrics()
    counters = Counters(metrics)
    for name in ("rejected_too_large", "enricher_silent_my-geo", "other"):
        counters.add(name)
    found = shown(metrics)
    assert found["band_front_rejected_too_large"] == (1.0, "Requests refused as: too_large.")
    assert found["band_front_enricher_silent_my_geo"] == (
        1.0, "Events that the enricher my-geo missed its deadline for.",
    )  # fmt: skip
    assert found["band_front_other"][0] == 1.0
