"""Messages: their parts, their order, and their bytes on the wire."""

import gzip
import time
import zlib
from typing import Any

import pytest

from band.json_codec import encode
from front.errors import BadRequest
from front.event import message
from front.event.coercion import to_number
from front.event.ids import Snowflakes
from front.event.url_path import read_path
from front.http1.request import text_of
from front.intake.body import MAX_NESTING, decode_json, parse_body
from front.intake.content_encoding import unpacked

NOW = 1795468772471
SDK = (
    b'{"service":"track","name":"page","data":{},"projectId":1617632140,"uid":"6410748586712844288",'
    b'"page":{"title":"Rockstat platform","ref":"","url":"https://rock.st/docs/"}}'
)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("5", 5),
        ("-7", -7),
        (" 12 ", 12),
        ("1e3", 1000),
        ("1.5", 1.5),
        ("0x1f", 31),
        ("0b11", 3),
        ("", 0),
        ("abc", None),
        ("1_000", None),
        ("٣", None),
        ("Infinity", None),
        (None, 0),
        (True, 1),
        (17, 17),
        (2.5, 2.5),
        ([5], None),
        ({}, None),
        ("9" * 5000, None),
        ("1617632140", 1617632140),
        ("1e400", None),
        (float("inf"), None),
    ],
)
def test_a_project_id_is_read_as_javascript_does(value: Any, number: Any) -> None:
    """What is not a finite number is null."""
    assert to_number(value) == number
    assert type(to_number(value)) is type(number)


def test_keys_are_made_of_text_and_numbers_only() -> None:
    """Names of the prototype are just names; lists and objects are refused with a reason."""
    assert message.event_key("track", "constructor") == "in.gen.track.constructor"
    assert message.event_key(5, 1.0) == "in.gen.5.1"
    for bad in ([1], {"a": 1}, True):
        with pytest.raises(BadRequest, match="must be text"):
            message.event_key("track", bad)
    with pytest.raises(BadRequest, match="256 characters"):
        message.event_key("track", "x" * 257)


def test_service_and_name_come_from_the_first_place_that_names_them() -> None:
    """Service: query, body, path; name: path, query, body."""
    place = read_path("/t4k/page")
    assert message.service_and_name(place, {"service": "q", "name": "qn"}, {"service": "b"}) == ("q", "page")
    assert message.service_and_name(read_path("/t4k"), {"name": "qn"}, {"service": "t4k", "name": "bn"}) == (
        "t4k",
        "qn",
    )
    assert message.service_and_name(read_path("/x"), {}, {}) == ("x", None)


def http_message(path: str, query: dict[str, Any], body: dict[str, Any], td: dict[str, Any]) -> dict[str, Any]:
    flakes = Snowflakes(clock=lambda: NOW)
    place = read_path(path)
    service, name = message.service_and_name(place, query, body)
    uid = message.uid_of(query, body, "", flakes)
    key = message.event_key(service, name)
    return message.http_message(key, "http", service, name, place, query, body, uid, td, flakes)


def test_the_broadcast_is_the_originals_byte_for_byte() -> None:
    """Order of keys, no spaces, raw non-ASCII and slashes: a captured notification again, and `project`."""
    td = message.client_facts("2.125.160.216", "Mozilla/5.0", "https://rock.st/docs/", "t.example.com")
    event = http_message("/band/t4k.json", {}, decode_json(SDK), td)
    event["data"]["mmgeo"] = {"country_ru": "Великобритания"}
    expected = (
        '{"jsonrpc":"2.0","from":"front","to":"broadcast","method":"broadcast:broadcast:front","params":'
        '{"key":"in.gen.track.page","channel":"http","service":"track","name":"page","projectId":1617632140,'
        '"uid":"6410748586712844288","td":{"ip":"2.125.160.216","ua":"Mozilla/5.0","ref":"https://rock.st/docs/",'
        '"host":"t.example.com"},"data":{"service":"track","name":"page","data":{},"projectId":1617632140,'
        '"uid":"6410748586712844288","page":{"title":"Rockstat platform","ref":"","url":"https://rock.st/docs/"},'
        f'"mmgeo":{{"country_ru":"Великобритания"}}}},"id":"{NOW << 22}","time":{NOW},"project":"default"}}}}'
    )
    assert message.broadcast_of(encode(event)) == expected.encode()


def test_the_query_wins_over_the_body_and_keeps_its_place() -> None:
    """`{...body, ...query}`, with the event's id one after a new uid's."""
    event = http_message("/labsvc/echo/7", {"a": "q"}, {"a": "b", "c": 1}, {})
    assert list(event["data"].items()) == [("a", "q"), ("c", 1)]
    assert int(event["id"]) == int(event["uid"]) + 1
    assert (event["projectId"], event["td"]) == (7, {})
    assert list(event) == [
        "key",
        "channel",
        "service",
        "name",
        "projectId",
        "uid",
        "td",
        "data",
        "id",
        "time",
        "project",
    ]


def test_what_is_missing_of_a_visit_is_left_out() -> None:
    """No nulls: a missing header is a missing key."""
    assert message.client_facts("", None, None, None) == {}
    assert message.client_facts("1.2.3.4", "", None, "h") == {"ip": "1.2.3.4", "ua": "", "host": "h"}


def test_a_websocket_message_has_its_own_order() -> None:
    """Key, name, service, channel, data, uid, td, id, time, project; `data` is the whole object, `td` its own copy."""
    td = {"ip": "1.2.3.4"}
    sent = {"service": "track", "name": "page", "id__": "_3", "projectId": 5}
    event = message.ws_message("in.gen.track.page", "track", "page", sent, "u", td, Snowflakes(clock=lambda: NOW))
    assert list(event) == ["key", "name", "service", "channel", "data", "uid", "td", "id", "time", "project"]
    assert event["td"] == td and event["td"] is not td
    assert event["data"] == sent
    assert event["channel"] == "ws"


@pytest.mark.parametrize(
    ("raw", "content_type", "body"),
    [
        (b'{"a":1}', "application/json", {"a": 1}),
        (b'{"a":1}', "application/vnd.api+json; charset=utf-8", {"a": 1}),
        (b"a=1&b[c]=2", "application/x-www-form-urlencoded", {"a": "1", "b": {"c": "2"}}),
        (b"a=1", "", {"a": "1"}),
        (b"", "text/plain", {}),
        (b'{"n":123456789012345678901234567890}', "application/json", {"n": 123456789012345678901234567890}),
    ],
)
def test_a_body_is_json_or_a_form(raw: bytes, content_type: str, body: dict[str, Any]) -> None:
    """JSON by content type, else a form."""
    assert parse_body(raw, content_type) == body


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "empty_body"),
        (b"[1,2]", "not_an_object"),
        (b'"str"', "not_an_object"),
        (b"null", "not_an_object"),
        (b"true", "not_an_object"),
        (b"5", "not_an_object"),
        (b"{bad", "malformed_json"),
        (b'{"a":NaN}', "malformed_json"),
        (b'{"a":1} x', "malformed_json"),
        (b'{"a":1e999}', "malformed_json"),
        (b'{"a":"\\ud83d" "b"}', "malformed_json"),
        (b'{"a":"\xff}', "malformed_json"),
        (b"[" * 100_000, "nested_json"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested_json"),
    ],
)
def test_bad_json_is_refused_with_its_reason(raw: bytes, code: str) -> None:
    """Whatever is wrong, it is a BadRequest with a code that is counted and words that help."""
    with pytest.raises(BadRequest) as refused:
        parse_body(raw, "application/json")
    assert refused.value.code == code
    assert refused.value.reason


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (rb'"Sale \ud83d"', "Sale \ufffd"),
        (rb'"\ude00 low alone"', "\ufffd low alone"),
        (rb'"\uD83D\ud83d\uDE00\ude00"', "\ufffd\U0001f600\ufffd"),
        (rb'"\\ud83d is text, \\\ud83d is half a pair"', "\\ud83d is text, \\\ufffd is half a pair"),
        (rb'"\ud83d\\\ude00"', "\ufffd\\\ufffd"),
        (rb'"\ud83d\n"', "\ufffd\n"),
        (rb'{"\ud83d":"\ud83d"}', {"\ufffd": "\ufffd"}),
        (b'"\xff and \xe2\x82"', "\ufffd and \ufffd"),
        (b'"\xed\xa0\xbd"', "\ufffd\ufffd\ufffd"),
        (b'"\xff \\ud83d \xd0\xb6"', "\ufffd \ufffd ж"),
    ],
)
def test_half_characters_become_the_replacement_character(raw: bytes, value: Any) -> None:
    """Half a surrogate pair and bytes that are no UTF-8 are U+FFFD, one for each as browsers count; the rest stays."""
    assert decode_json(raw) == value


def test_mending_takes_no_time_to_speak_of() -> None:
    """The body that makes the most work of it, 100 kB of escapes and a lone half at their end, is read in a moment."""
    began = time.perf_counter()
    for inner in (rb"\ud83d\ude00" * 8000, rb"\"" * 50_000, rb"\\" * 50_000, rb"\ud83d" * 16_000, b"\xff" * 100_000):
        decode_json(b'"' + inner + rb'\ud83d"')
    assert time.perf_counter() - began < 1


def test_a_packed_body_is_read_to_its_end() -> None:
    """A gzip file may have several members; what stands behind the last one, or too many of them, is refused."""
    two = gzip.compress(b'{"a":1,') + gzip.compress(b'"b":2}')
    assert unpacked(two, "gzip", 100) == b'{"a":1,"b":2}'
    assert unpacked(zlib.compress(b"{}"), "deflate", 100) == b"{}"
    for packed, encoding in (
        (gzip.compress(b"{}") + b"garbage", "gzip"),
        (two[:-5], "gzip"),
        (zlib.compress(b"{}") + b"{}", "deflate"),
        (gzip.compress(b"") * 5000, "gzip"),
    ):
        with pytest.raises(BadRequest) as refused:
            unpacked(packed, encoding, 100)
        assert refused.value.code == "broken_body"
    with pytest.raises(BadRequest) as refused:
        unpacked(gzip.compress(b"x" * 60) * 2, "gzip", 100)
    assert refused.value.code == "too_large"


def test_json_may_nest_to_the_limit() -> None:
    """Many brackets side by side are no depth."""
    deep = b'{"a":' * MAX_NESTING + b"1" + b"}" * MAX_NESTING
    assert parse_body(deep, "application/json")
    assert parse_body(b'{"a":[' + b"[]," * 500 + b"[]]}", "application/json")


def test_headers_become_valid_text() -> None:
    """UTF-8 as it is, other bytes as Latin-1, never half a character that cannot be written as JSON."""
    assert text_of(b"plain") == "plain"
    assert text_of(b"Jos\xc3\xa9") == "José"
    assert text_of(b"Jos\xe9") == "José"
