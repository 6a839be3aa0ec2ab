"""From the platform's event to Mixpanel's record."""

from typing import Any

import msgspec
import pytest

from mixpanel_double.rules import complaint
from send_mixpanel.mapping import UnusableEvent, distinct_id, event_time, insert_id, project_id, to_record

EVENT: dict[str, Any] = {
    "key": "in.gen.track.page",
    "channel": "http",
    "service": "track",
    "name": "page",
    "projectId": 1617632140,
    "uid": "6410748586712844288",
    "td": {"ip": "2.125.160.216", "ua": "Mozilla/5.0 (…)", "ref": "https://rock.st/docs/", "host": "t.example.com"},
    "data": {
        "service": "track",
        "name": "page",
        "data": {"plan": "pro", "$insert_id": "forged", "time": 1},
        "projectId": 1617632140,
        "uid": "6410748586712844288",
        "page": {
            "title": "Rockstat",
            "ref": "https://ya.ru/?q=1",
            "url": "https://rock.st/?utm_source=ad&utm_medium=cpc",
        },
        "sess": {"pageNum": 1, "marks": {"utm_source": "mail"}, "num": 1},
        "browser": {"w": 1440, "h": 415},
        "uaparser": {
            "os_family": "Mac OS X",
            "os_version": [10, 15, 7],
            "browser_family": "Chrome",
            "browser_version": [120, 0, 0],
            "device_family": "Mac",
            "device_brand": "Apple",
            "device_model": "Mac",
            "is_bot": 0,
            "is_tables": 0,
            "is_mob": 0,
            "is_pc": 1,
        },
        "mmgeo": {"country_iso": "GB", "region_en": "England", "city_en": ""},
        "sxgeo": {"country_iso": "DE", "city_en": "Boxford"},
        "fpid": "8063120466863574367",
    },
    "id": "7530741854237622272",
    "time": 1795468772471,
}
REFUSED = ["", "anon", "Anonymous", "nil", "none", "NULL", "n/a", "na", "undefined", "unknown", "<nil>", "0", "-1"]


def properties(event: dict[str, Any]) -> dict[str, Any]:
    record = msgspec.json.decode(to_record(event).body)
    assert complaint(record, now=1795468800) is None
    return dict(record["properties"])


def test_send_mixpanel_maps_the_whole_event() -> None:
    """The original's sample event becomes exactly this record, and Mixpanel's rules find nothing wrong with it."""
    assert msgspec.json.decode(to_record(EVENT).body)["event"] == "track/page"
    assert properties(EVENT) == {
        "time": 1795468772471,
        "distinct_id": "6410748586712844288",
        "$insert_id": "7530741854237622272",
        "ip": 0,
        "mp_lib": "rockstat-band",
        "_key": "in.gen.track.page",
        "_channel": "http",
        "_id": "7530741854237622272",
        "_projectId": 1617632140,
        "mp_country_code": "GB",
        "$region": "England",
        "$city": "Boxford",
        "$os": "Mac OS X",
        "$os_version": "10.15.7",
        "$browser": "Chrome",
        "$browser_version": "120.0.0",
        "$device": "Mac",
        "$brand": "Apple",
        "$model": "Mac",
        "is_bot": False,
        "device_type": "desktop",
        "$current_url": "https://rock.st/?utm_source=ad&utm_medium=cpc",
        "$referrer": "https://ya.ru/?q=1",
        "$referring_domain": "ya.ru",
        "_host": "t.example.com",
        "utm_source": "mail",
        "utm_medium": "cpc",
        "plan": "pro",
        "data.$insert_id": "forged",
        "data.time": 1,
        "page.title": "Rockstat",
        "page.ref": "https://ya.ru/?q=1",
        "page.url": "https://rock.st/?utm_source=ad&utm_medium=cpc",
        "sess.pageNum": 1,
        "sess.marks.utm_source": "mail",
        "sess.num": 1,
        "browser.w": 1440,
        "browser.h": 415,
        "fpid": "8063120466863574367",
    }


def test_send_mixpanel_never_sends_the_address() -> None:
    """The visitor's IP and User-Agent stay here: the record holds neither."""
    body = to_record(EVENT).body
    assert b"2.125.160.216" not in body
    assert b"Mozilla" not in body


def test_send_mixpanel_same_event_same_record() -> None:
    """Mapping has no clock and no chance in it: sent again, a record is byte for byte the same."""
    assert to_record(EVENT).body == to_record(msgspec.json.decode(msgspec.json.encode(EVENT))).body


@pytest.mark.parametrize("uid", [*REFUSED, None, True, False, [], {}, "00000000-0000-0000-0000-000000000000", " null "])
def test_send_mixpanel_nobody_is_empty(uid: Any) -> None:
    """A missing id, and each value that Mixpanel refuses, is sent as nobody and not as a common user."""
    assert distinct_id({"uid": uid}) == ""
    assert properties({**EVENT, "uid": uid})["distinct_id"] == ""


@pytest.mark.parametrize(
    ("event", "project"),
    [
        ({"projectId": 17, "data": {"projectId": 18}}, 17),
        ({"projectId": None, "data": {"projectId": 18}}, None),
        ({"channel": "ws", "data": {"projectId": 18}}, 18),
        ({"channel": "ws", "data": "text"}, None),
    ],
)
def test_send_mixpanel_project_of_a_websocket_message(event: dict[str, Any], project: Any) -> None:
    """It stands in the data, where front leaves it; elsewhere the event's own counts."""
    assert project_id(event) == project
    ws = {"id": "7530741854237622272", "time": 1795468772471, "data": {"projectId": 18}}
    assert properties(ws)["_projectId"] == 18


def test_send_mixpanel_ids_are_texts() -> None:
    """A number as uid (the original lets it through) is sent as text; an endless one as its hash."""
    assert distinct_id({"uid": 6410748586712844288}) == "6410748586712844288"
    assert len(distinct_id({"uid": "x" * 5000})) == 64


@pytest.mark.parametrize("event_id", ["", "0", "null", "with_underscore", "ü", "a" * 37, None, 12345678901])
def test_send_mixpanel_insert_id_is_always_valid(event_id: Any) -> None:
    """Whatever the event's id, the $insert_id keeps Mixpanel's rules and is the same each time."""
    event = {**EVENT, "id": event_id}
    assert insert_id(event) == insert_id(dict(event))
    properties(event)


def test_send_mixpanel_insert_ids_differ() -> None:
    """Two events without a usable id that differ in anything have different $insert_ids."""
    assert insert_id({**EVENT, "id": None}) != insert_id({**EVENT, "id": None, "time": 1})


def test_send_mixpanel_insert_id_of_broken_text() -> None:
    """Half of an emoji (some clients cut so) neither stops the hash nor the record."""
    properties({**EVENT, "id": None, "data": {"half \ud800": [["\udfff"]], "uaparser": {"os_family": "\ud800"}}})


def test_send_mixpanel_time_from_the_id() -> None:
    """A flake id carries its time; without either the event cannot be sent, and says why."""
    assert event_time({"id": "7530741854237622272"}) == 1795468772468
    with pytest.raises(UnusableEvent, match="neither a time"):
        to_record({"key": "in.gen.x", "data": {}})


@pytest.mark.parametrize(
    "odd",
    [{"id": "9" * 5000}, {"time": float("inf")}, {"time": 1e300}, {"time": 2**70}, {"time": -5}, {"time": True}, {}],
)
def test_send_mixpanel_takes_no_odd_time(odd: dict[str, Any]) -> None:
    """An endless number is no time and no error: the event is named as unusable, and holds nobody back."""
    with pytest.raises(UnusableEvent, match="neither a time"):
        to_record({"key": "in.gen.x", "data": {}, **odd})


def test_send_mixpanel_an_error_of_ours_is_about_one_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the mapping did not think of makes that event unusable, with the reason, and not the batch."""
    monkeypatch.setattr("send_mixpanel.mapping._add_page", lambda *_: 1 // 0)
    with pytest.raises(UnusableEvent, match="ZeroDivisionError"):
        to_record(EVENT)


def test_send_mixpanel_remembers_little_of_long_addresses() -> None:
    """Pages repeat, so their hosts are remembered; how long an address is, its visitor decides: 2,048 letters of it."""
    from send_mixpanel import mapping

    mapping._host.cache_clear()
    long = "https://ya.ru/" + "x" * 90_000
    found = properties({**EVENT, "data": {"page": {"url": f"{long}?utm_source=far", "ref": long}}})
    assert found["$referring_domain"] == "ya.ru"
    assert "utm_source" not in found
    assert mapping._host("https://ya.ru/" + "x" * (2048 - 14)) == "ya.ru"
    assert mapping._host.cache_info().hits == 1
    assert mapping._host.cache_info().maxsize == 1024


def test_send_mixpanel_keeps_within_limits() -> None:
    """Hundreds of properties, endless texts, lists, nests and numbers still make a record that Mixpanel takes."""
    deep: Any = "x"
    for _ in range(60):
        deep = {"a": deep}
    data = {
        **{f"p{number}": number for number in range(600)},
        "zz": "y",
    }
    found = properties({**EVENT, "data": data})
    assert len(found) < 255
    assert found["_properties_left_out"] > 300
    wild = {
        "text": "ж" * 10_000,
        "list": list(range(1000)),
        "lists": [[1, [2, [3]]], {"a": {"b": {"c": {"d": 1}}}}],
        "deep": deep,
        "big": 10**30,
        "none": None,
        "half": "a\ud800b",
        "k" * 900: 1,
    }
    found = properties({**EVENT, "data": wild})
    assert len(found["text"]) == 255
    assert len(found["list"]) == 254
    assert found["lists"][0] == "[1,[2,[3]]]"
    assert found["big"] == str(10**30)
    assert "none" not in found
    assert found["half"].startswith("a")


def test_send_mixpanel_tells_what_is_too_large() -> None:
    """An event that stays over 1 MB even when cut is named as such and not sent."""
    data = {f"p{number}": ["x" * 255] * 254 for number in range(200)}
    with pytest.raises(UnusableEvent, match="Mixpanel accepts less than"):
        to_record({**EVENT, "data": data})


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "x",
        7,
        {"mmgeo": None, "uaparser": "x", "page": 3, "sess": [], "data": "text"},
        {"uaparser": {"os_family": 3}},
    ],
)
def test_send_mixpanel_maps_odd_data(data: Any) -> None:
    """Data of any shape is mapped: an odd event costs nobody anything."""
    properties({**EVENT, "data": data, "td": None})


def test_send_mixpanel_page_of_a_pixel() -> None:
    """A pixel has no page in its data: its Referer is the page that it stands on."""
    found = properties({**EVENT, "data": {}, "td": {"ref": "https://rock.st/a?utm_campaign=x"}})
    assert found["$current_url"] == "https://rock.st/a?utm_campaign=x"
    assert found["utm_campaign"] == "x"


@pytest.mark.parametrize("place", ["data", "marks", "url"])
def test_a_visitor_cannot_fill_a_record_with_campaigns(place: str) -> None:
    """Hundreds of `utm_…`, with endless names: Mixpanel takes the record, and what counts is in it."""
    marks = {"utm_source": "ad"} | {f"utm_{number:03}{'x' * (300 if number % 2 else 1)}": "1" for number in range(300)}
    url = "https://rock.st/?utm_source=ad&" + "&".join(f"utm_{number}=1" for number in range(99))
    data: dict[str, Any] = {"data": marks, "marks": {"sess": {"marks": marks}}, "url": {"page": {"url": url}}}[place]
    found = properties({**EVENT, "data": {"plan": "pro", **data}})
    assert (found["plan"], found["utm_source"]) == ("pro", "ad")
    assert max(map(len, found)) <= 255
    assert len([name for name in found if name.startswith("utm_")]) <= (240 if place == "data" else 20)
    # What found no place of its own is among the other data of the event, and counted like it.
    assert place == "url" or found["_properties_left_out"] > 50
