"""Registrations: routes by the longest prefix, enrichers by prefix and property."""

from typing import Any

from front.routing.enrichment_plan import EnrichPlan, read_enricher
from front.routing.handlers import Remote
from front.routing.registrations import compile_table

ECHO = {"service": "labsvc", "method": "echo", "role": "handler", "options": {}}
WILD = {"service": "labsvc", "method": "*", "role": "handler", "options": {"alias": "wild", "timeout": 1500}}
UA = {
    "service": "uaparser",
    "method": "enrich",
    "role": "enricher",
    "options": {"keys": ["in.gen.track"], "props": {"ua": "td.ua"}},
}
GEO = {
    "service": "mmgeo",
    "method": "enrich",
    "role": "enricher",
    "options": {"keys": ["in.gen.track", "in.gen.track.page"], "props": {"ip": "td.ip"}},
}


def compile_plan(rows: Any) -> EnrichPlan:
    return EnrichPlan([read_enricher(service, options) for service, options in rows])


def found(rows: list[Any], key: str) -> tuple[Any, str]:
    return compile_table(rows, 1).routes.find(key)


def test_the_longest_registered_prefix_answers() -> None:
    """A deeper key still reaches the prefix's handler, a wildcard takes the whole service."""
    rows = [ECHO, WILD]
    assert found(rows, "in.gen.labsvc.echo")[0] == Remote("labsvc", "echo", {})
    assert found(rows, "in.gen.labsvc.echo.deeper")[0] == Remote("labsvc", "echo", {})
    assert found(rows, "in.gen.wild.anything")[0].method == "*"
    assert found([*rows, {**ECHO, "method": "*"}], "in.gen.labsvc.echo")[0].method == "echo"
    assert found([*rows, {**ECHO, "method": "*"}, {**ECHO, "method": "a.b"}], "in.gen.labsvc.a")[0].method == "*"


def test_unknown_events_tell_how_far_they_are_known() -> None:
    """The default answer's key: the longest known prefix."""
    assert found([ECHO], "in.gen.foo.bar") == (None, "in.gen")
    assert found([ECHO], "in.gen.labsvc.other") == (None, "in.gen.labsvc")
    assert found([ECHO], "in.gen.labsvcx.echo") == (None, "in.gen")


def test_prototype_names_are_just_names() -> None:
    """Keys that hung the original are ordinary ones."""
    for name in ("constructor", "__proto__", "toString", "hasOwnProperty"):
        assert found([], f"in.gen.track.{name}") == ("track", "in.gen.track")
        assert found([], f"in.gen.{name}.x") == (None, "in.gen")


def test_registered_handlers_go_before_built_in_ones() -> None:
    """An alias `track` overrides tracking; with an alias the real name is not routable; of two rows the last counts."""
    rows = [{**WILD, "options": {"alias": "track"}}, {**ECHO, "options": {"alias": "x"}}]
    assert found(rows, "in.gen.track.page")[0].service == "labsvc"
    assert found(rows, "in.gen.labsvc.echo") == (None, "in.gen")
    second = {**ECHO, "service": "other", "options": {"alias": "labsvc"}}
    assert found([ECHO, second], "in.gen.labsvc.echo")[0].service == "other"


def test_rows_that_make_no_sense_are_left_out() -> None:
    """Nothing in a row can break the table; missing options are empty ones."""
    rows: list[Any] = [
        None, 5, [], {}, {"service": "a"}, {**ECHO, "service": "a:b"}, {**ECHO, "method": 5}, {**ECHO, "options": None},
        {**UA, "options": None}, {**UA, "options": {"keys": "in.gen"}}, {**UA, "options": {"keys": [5, None], "props": []}},  # noqa: E501
    ]  # fmt: skip
    table = compile_table(rows, 1)
    assert list(table.handlers) == ["in.gen.labsvc.echo"]
    assert table.plan.expected("in.gen.track.page") == frozenset()


def test_a_timeout_is_the_rows_or_the_default() -> None:
    """Milliseconds on the wire, seconds inside; nonsense gives the default, and there is an upper bound."""
    assert Remote("a", "b", {"timeout": 1500}).timeout(0.2) == 1.5
    for odd in (None, "x", -1, True, 0):
        assert Remote("a", "b", {"timeout": odd}).timeout(0.2) == 0.2
    assert Remote("a", "b", {"timeout": 10**9}).timeout(0.2) == 60.0


def plan(*rows: dict[str, Any]) -> Any:
    return compile_table(rows, 1).plan


def test_an_enricher_is_asked_once_however_often_it_matches() -> None:
    """Two matching keys of one service are one expectation; `in.gen.*` is no wildcard; `*` is all."""
    assert plan(UA, GEO).expected("in.gen.track.page") == {"uaparser", "mmgeo"}
    assert plan(UA, GEO).expected("in.gen.tracker.page") == frozenset()
    assert plan({**UA, "options": {"keys": ["in.gen.*"]}}).expected("in.gen.track.page") == frozenset()
    assert plan({**UA, "options": {"keys": ["*"]}}, GEO).expected("in.gen.foo.bar") == {"uaparser"}
    assert plan({**UA, "options": {"keys": ["*"]}}, GEO).services == {"uaparser", "mmgeo"}


def test_an_alias_does_not_change_who_answers() -> None:
    """An aliased enricher is awaited under its real name, the one that its reply carries."""
    aliased = {**UA, "options": {**UA["options"], "alias": "ua"}}  # type: ignore[dict-item]
    assert plan(aliased).expected("in.gen.track.page") == {"uaparser"}


def test_enrichers_are_told_the_union_of_their_properties() -> None:
    """Dotted paths; undefined ones are omitted, null is a value."""
    event = {"key": "k", "td": {"ip": "1.2.3.4"}, "data": {"page": {"url": "u"}, "nil": None, "list": [1]}}
    props = {
        "ip": "td.ip",
        "ua": "td.ua",
        "url": "data.page.url",
        "nil": "data.nil",
        "deep": "data.list.0",
    }
    compiled = compile_plan([("a", {"keys": ["*"], "props": props}), ("b", {"keys": ["*"], "props": {"key": "key"}})])
    assert compiled.params(event) == {"ip": "1.2.3.4", "url": "u", "nil": None, "key": "k"}
    assert [wish.own for wish in compiled.rules("in.gen.a.b")] == [None, None]
    assert compiled.told_apart == []


def test_nobody_chooses_what_another_enricher_is_told() -> None:
    """Of two properties with one name the first row's is the others'; who means another is told its own."""
    event = {"td": {"ip": "1.2.3.4", "ua": "UA"}, "data": {"client": "9.9.9.9"}}
    rows: list[tuple[str, dict[str, Any]]] = [
        ("mmgeo", {"keys": ["*"], "props": {"ip": "td.ip"}}),
        ("other", {"keys": ["*"], "props": {"ip": "data.client"}}),
        ("uaparser", {"keys": ["*"], "props": {"ua": "td.ua"}}),
    ]
    first, last = {"ip": "1.2.3.4", "ua": "UA"}, {"ip": "9.9.9.9", "ua": "UA"}
    for order, shared in ((rows, first), (rows[::-1], last)):
        compiled = compile_plan(order)
        told = {wish.service: compiled.params(event, wish.own) for wish in compiled.rules("in.gen.a.b")}
        assert told == {"mmgeo": first, "other": last, "uaparser": shared}
        assert compiled.told_apart == ["other" if shared is first else "mmgeo"]
