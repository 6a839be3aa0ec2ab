"""The rules of a record, one by one."""

import time
from typing import Any

import pytest

from mixpanel_double.rules import complaint

NOW = 1_795_468_772.0


def record(**changes: Any) -> dict[str, Any]:
    properties = {"time": int(NOW), "distinct_id": "641074", "$insert_id": "7530741854237622272", **changes}
    return {"event": "track/page", "properties": {k: v for k, v in properties.items() if v is not ...}}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"time": int(NOW * 1000)},
        {"time": 31_536_000},
        {"time": int(NOW) + 3600},
        {"distinct_id": ""},
        {"$insert_id": "a" * 36},
        {"nested": {"a": {"b": 1}}},
        {f"p{number}": 1 for number in range(251)},
    ],
)
def test_mixpanel_double_takes_what_mixpanel_takes(changes: dict[str, Any]) -> None:
    """Seconds and milliseconds, nobody's events and everything just inside a limit pass."""
    assert complaint(record(**changes), NOW) is None


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"time": ...}, "properties.time"),
        ({"time": "yesterday"}, "properties.time"),
        ({"time": True}, "properties.time"),
        ({"time": 31_535_999}, "properties.time"),
        ({"time": int(NOW) + 3602}, "properties.time"),
        ({"distinct_id": ...}, "properties.distinct_id"),
        ({"distinct_id": None}, "properties.distinct_id"),
        ({"distinct_id": 12}, "properties.distinct_id"),
        *[
            ({"distinct_id": value}, "properties.distinct_id")
            for value in ("0", "-1", "Anonymous", "NULL", "n/a", "[]")
        ],
        ({"$insert_id": ...}, "properties.$insert_id"),
        ({"$insert_id": ""}, "properties.$insert_id"),
        ({"$insert_id": "undefined"}, "properties.$insert_id"),
        ({"$insert_id": "a" * 37}, "properties.$insert_id"),
        ({"$insert_id": "with_underscore"}, "properties.$insert_id"),
        ({f"p{number}": 1 for number in range(252)}, "properties"),
        ({"deep": {"a": {"b": {"c": {}}}}}, "properties.deep"),
        ({"long": list(range(255))}, "properties.long"),
        ({"huge": "x" * 1_050_000}, ""),
    ],
)
def test_mixpanel_double_names_the_field(changes: dict[str, Any], field: str) -> None:
    """Each broken rule is refused with the field that breaks it and a text."""
    found = complaint(record(**changes), NOW)
    assert found is not None
    assert found[0] == field
    assert found[1]


@pytest.mark.parametrize("junk", [None, 7, [], {}, {"event": ""}, {"event": "x"}, {"event": "x", "properties": 1}])
def test_mixpanel_double_refuses_what_is_no_record(junk: Any) -> None:
    """Whatever stands in the array, there is a complaint and no error."""
    assert complaint(junk, time.time())


def test_mixpanel_double_refuses_unknown_fields() -> None:
    """The specification allows nothing beside event and properties."""
    assert complaint({**record(), "token": "t"}, NOW)
