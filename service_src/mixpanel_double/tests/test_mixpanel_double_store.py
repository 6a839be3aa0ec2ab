"""What is counted as one, and that the double stays small."""

from typing import Any

import pytest

from mixpanel_double import store as store_module
from mixpanel_double.store import Store

NOW = 1_795_468_772


def record(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "event": "track/page",
        "properties": {"time": NOW, "distinct_id": "u", "$insert_id": f"id-{number}", **changes},
    }


@pytest.mark.parametrize(
    ("second", "project", "unique"),
    [
        (record(), "a", 1),
        (record(time=NOW * 1000), "a", 1),
        (record(title="newer"), "a", 1),
        (record(), "b", 2),
        (record(time=NOW + 1), "a", 2),
        (record(distinct_id="other"), "a", 2),
        (record(2), "a", 2),
        ({**record(), "event": "track/other"}, "a", 2),
    ],
)
def test_mixpanel_double_what_is_one(second: dict[str, Any], project: str, unique: int) -> None:
    """Event, time (in either unit), distinct_id and $insert_id, within one project; nothing else counts."""
    store = Store()
    store.add([record()], "a")
    store.add([second], project)
    assert store.stats()["unique"] == unique
    assert store.stats()["duplicates"] == 2 - unique


def test_mixpanel_double_shows_the_newest_version() -> None:
    """Of a record that came twice the newest stands, first in the list, with how often it came."""
    store = Store()
    store.add([record(1, title="old"), record(2), record(1, title="new")], "a")
    newest = store.newest(10)
    assert [(one["properties"].get("title"), one["times"]) for one in newest] == [("new", 2), (None, 1)]


def test_mixpanel_double_cuts_long_texts() -> None:
    """As Mixpanel does: 255 characters of each text, in lists and objects too; names and numbers stay."""
    store = Store()
    store.add([record(text="x" * 300, nested={"a": ["y" * 300, 7]})], "a")
    properties = store.newest(1)[0]["properties"]
    assert properties["text"] == "x" * 255
    assert properties["nested"] == {"a": ["y" * 255, 7]}


def test_mixpanel_double_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole records are kept up to so many bytes; older ones are still counted, and a repeated one frees its place."""
    monkeypatch.setattr(store_module, "MOST_SHOWN_BYTES", 10_000)
    store = Store()
    store.add([record(number, text="x" * 200) for number in range(100)], "a")
    assert 20 < len(store.newest(1000)) < 40
    assert (store.stats()["unique"], len(store.ids())) == (100, 100)
    store.add([record(99, text="y" * 200)] * 200, "a")
    assert 20 < len(store.newest(1000)) < 40
