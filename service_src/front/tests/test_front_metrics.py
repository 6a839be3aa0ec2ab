"""What front counts: it begins at 0, and says what it is."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from band.telemetry.metrics import Metrics
from front.metrics import COUNTED, MAX_VALUES, Counters


def shown(metrics: Metrics) -> dict[str, tuple[float, str]]:
    """Return value and help of each counter of front."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        family.name: (family.samples[0].value, family.documentation)
        for family in families
        if family.name.startswith("band_front_") and family.samples
    }


def test_counters_begin_at_0_so_that_their_first_increase_shows() -> None:
    """Prometheus sees no increase in a counter that comes into being with a 1."""
    metrics = Metrics()
    counters = Counters(metrics)
    assert shown(metrics) == {f"band_front_{name}": (0.0, text) for name, text in COUNTED.items()}
    counters.add("accepted")
    assert shown(metrics)["band_front_accepted"][0] == 1.0


def test_every_counter_says_what_it_counts() -> None:
    """A code or a service is a label; until the next release it also stands in a name, as before."""
    metrics = Metrics()
    counters = Counters(metrics)
    counters.add("rejected", "too_large")
    counters.add("enricher_timeouts", "my-geo")
    text = metrics.render().decode()
    assert 'band_front_rejected_total{code="too_large"} 1.0' in text
    assert 'band_front_enricher_timeouts_total{service="my-geo"} 1.0' in text
    found = shown(metrics)
    assert found["band_front_rejected"] == (1.0, "Refused requests, by the code in the response.")
    assert found["band_front_rejected_too_large"][0] == found["band_front_enricher_silent_my_geo"][0] == 1.0


def test_a_label_has_so_many_values_and_no_more() -> None:
    """Services that come and go are counted together in the end."""
    metrics = Metrics()
    counters = Counters(metrics)
    for number in range(MAX_VALUES + 2):
        counters.add("enricher_timeouts", f"s{number}")
    assert 'band_front_enricher_timeouts_total{service="other"} 2.0' in metrics.render().decode()
