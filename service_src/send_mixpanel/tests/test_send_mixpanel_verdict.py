"""What each answer of Mixpanel means."""

import msgspec
import pytest

from send_mixpanel.verdict import Meaning, judge, judge_change


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (200, b'{"code":200,"num_records_imported":3,"status":"OK"}', Meaning.TAKEN),
        (200, b'{"code":200,"status":"OK"}', Meaning.TAKEN),
        (200, b'{"code":200,"num_records_imported":2}', Meaning.LATER),
        (200, b"<html>Please log in to the hotel's network</html>", Meaning.ADDRESS),
        (200, b"", Meaning.ADDRESS),
        (400, b'{"code":400,"error":"bad"}', Meaning.ALL_IN_DOUBT),
        (400, b"<html>", Meaning.ALL_IN_DOUBT),
        (401, b'{"code":401,"error":"Invalid credentials"}', Meaning.CREDENTIALS),
        (403, b"", Meaning.CREDENTIALS),
        (404, b"", Meaning.ADDRESS),
        (302, b"", Meaning.ADDRESS),
        (413, b"", Meaning.TOO_LARGE),
        (408, b"", Meaning.LATER),
        (429, b"", Meaning.LATER),
        (500, b"", Meaning.LATER),
        (503, b"", Meaning.LATER),
    ],
)
def test_send_mixpanel_judges(status: int, body: bytes, meaning: Meaning) -> None:
    """Each status has one meaning; only an answer in Mixpanel's own words counts as taken."""
    assert judge(status, body, 3).meaning is meaning


_BAD_TOKEN = b'{"code":400,"failed_records":[{"index":0,"field":"$token","message":"no token"}]}'
_BAD_CHANGE = b'{"code":400,"failed_records":[{"index":0,"field":"$add","message":"no number"}]}'


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (200, b"1", Meaning.TAKEN),
        (200, b'{"status":1,"error":null}', Meaning.TAKEN),
        (200, b'{"code":200,"num_records_imported":3,"status":"OK"}', Meaning.TAKEN),
        (200, b"0", Meaning.ALL_IN_DOUBT),
        (200, b'{"status":0,"error":"bad"}', Meaning.ALL_IN_DOUBT),
        (200, b"<html>Please log in to the hotel's network</html>", Meaning.ADDRESS),
        (200, b"[1]", Meaning.ADDRESS),
        (200, b"", Meaning.ADDRESS),
        (400, _BAD_CHANGE, Meaning.SOME_FAILED),
        (400, _BAD_TOKEN, Meaning.CREDENTIALS),
        (401, b"", Meaning.CREDENTIALS),
        (429, b"", Meaning.LATER),
        (503, b"1", Meaning.LATER),
        (413, b"", Meaning.TOO_LARGE),
    ],
)
def test_send_mixpanel_judges_changes_of_profiles(status: int, body: bytes, meaning: Meaning) -> None:
    """A 200 may be a refusal; a token that is refused is not the changes' fault."""
    assert judge_change(status, body, 3).meaning is meaning


@pytest.mark.parametrize("id_field", ["insert_id", "$insert_id"])
def test_send_mixpanel_finds_failed_records_by_index(id_field: str) -> None:
    """Failed records are found by index, whatever the name of the id, in order, and never outside what was sent."""
    rows = [
        {"index": 2, id_field: "same", "field": "properties.time", "message": "too old"},
        {"index": 0, id_field: "same", "field": "event", "message": "empty"},
        {"index": 99, "message": "outside"},
        {"index": -1},
        {"index": "1"},
        "junk",
    ]
    verdict = judge(400, msgspec.json.encode({"code": 400, "failed_records": rows, "num_records_imported": 1}), 3)
    assert verdict.meaning is Meaning.SOME_FAILED
    assert [(failure.index, failure.message) for failure in verdict.failed] == [(0, "empty"), (2, "too old")]
    assert verdict.imported == 1
