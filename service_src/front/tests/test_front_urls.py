"""Paths, queries and forms as the wire protocol's section 7 has them."""

import pytest

from front.event.url_path import read_path
from front.intake.qs import parse_form, parse_query


@pytest.mark.parametrize(
    ("path", "service", "name", "project", "content_type", "native"),
    [
        ("/track/page", "track", "page", "", "", False),
        ("/track/page/1617632140", "track", "page", "1617632140", "", False),
        ("/track/page/5/more", "track", "page", "5", "", False),
        ("/track/page/", "track", "page", "", "", False),
        ("/track/page.json", "track", "page", "", "application/json", False),
        ("/track/page.json/", "track", "page", "", "application/json", False),
        ("/track/page.gif", "track", "page", "", "image/gif", False),
        ("/track/page.js", "track", "page", "", "application/javascript", False),
        ("/track/page.html", "track", "page", "", "text/html", False),
        ("/labsvc/x.foo", "labsvc", "x", "", "", False),
        ("/labsvc/a.b.json", "labsvc", "a.b", "", "application/json", False),
        ("/a.b/c", "a.b", "c", "", "", False),
        ("/away/x", "redir", "x", "", "", False),
        ("/gif/x", "pixel", "x", "", "", False),
        ("/t4k/x", "track", "x", "", "", False),
        ("/img/x", "img", "x", "", "", False),
        ("/band/t4k.json", "track", "", "", "application/json", True),
        ("/band/t4k.gif", "track", "", "", "image/gif", True),
        ("/track/band/page", "track", "page", "", "", True),
        ("/track/page/band", "track", "page", "", "", True),
        ("//x", "", "x", "", "", False),
        ("//", "", "", "", "", False),
        ("/band", "", "", "", "", True),
        ("/track/constructor", "track", "constructor", "", "", False),
        ("/t4k", "track", "", "", "", False),
    ],
)
def test_a_path_names_service_event_and_project(
    path: str, service: str, name: str, project: str, content_type: str, native: bool
) -> None:
    """Segments are read in order, the mark `band` asks for the native form, the last suffix sets the content type."""
    assert read_path(path) == (service, name, project, content_type, native)


def test_a_path_of_any_length_is_read() -> None:
    """Paths too long to be remembered are read all the same."""
    assert read_path(f"/track/{'x' * 5000}.json").name == "x" * 5000


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("", {}),
        ("a=1&b=", {"a": "1", "b": ""}),
        ("a", {"a": ""}),
        ("a=1=2", {"a": "1=2"}),
        ("&&=x&a=1", {"a": "1"}),
        ("a=1&a=2&a=3", {"a": ["1", "2", "3"]}),
        ("a[]=1&a[]=2", {"a": ["1", "2"]}),
        ("a[]=1", {"a": ["1"]}),
        ("a=1&a[]=2", {"a": ["1", "2"]}),
        ("a[0]=x&a[2]=z", {"a": ["x", "z"]}),
        ("a[1]=y&a[0]=x", {"a": ["x", "y"]}),
        ("a[21]=x", {"a": {"21": "x"}}),
        ("a[01]=x", {"a": {"01": "x"}}),
        ("a[0]=x&a[b]=y", {"a": {"0": "x", "b": "y"}}),
        ("a[b][c]=1&a[b][d]=2", {"a": {"b": {"c": "1", "d": "2"}}}),
        ("a[b]=1&a=2", {"a": {"b": "1", "2": True}}),
        ("a=1&a[b]=2", {"a": ["1", {"b": "2"}]}),
        ("a[][b]=1&a[][b]=2", {"a": [{"b": ["1", "2"]}]}),
        ("a[b][c][d][e][f][g][h]=1", {"a": {"b": {"c": {"d": {"e": {"f": {"[g][h]": "1"}}}}}}}),
        ("a[=1", {"a[": "1"}),
        ("a[b=1", {"a[b": "1"}),
        ("[a]=1", {"a": "1"}),
        ("a%5Bb%5D=1", {"a": {"b": "1"}}),
        ("x=%E2%82%AC+k", {"x": "€ k"}),
        ("x=%zz&y=%E2%82", {"x": "%zz", "y": "%E2%82"}),
        ("constructor=1&__proto__[x]=2", {"constructor": "1", "__proto__": {"x": "2"}}),
    ],
)
def test_a_query_is_read_as_qs_does(text: str, tree: dict[str, object]) -> None:
    """Nesting to depth 5, lists, repeated keys, bad escapes left alone, prototype names nothing special."""
    assert parse_query(text) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("l[]=1&l[]=2", {"l": {"0": ["1", "2"]}}),
        ("a[0]=x&a[1]=y", {"a": {"0": "x", "1": "y"}}),
        ("a[b][c][d]=1", {"a": {"b": {"c": {"[d]": "1"}}}}),
        ("a=1&a=2", {"a": ["1", "2"]}),
    ],
)
def test_a_form_is_read_without_lists_and_to_depth_two(text: str, tree: dict[str, object]) -> None:
    """The body's rules differ from the query's, as the original's do."""
    assert parse_form(text) == tree


def test_a_query_has_a_bounded_number_of_parameters() -> None:
    """A flood of parameters is cut, not worked through."""
    assert len(parse_query("&".join(f"k{number}=1" for number in range(5000)))) == 1000
