"""Endpoints are declared on their handlers: routing, validation, the guard and the OpenAPI document come from that."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar, get_type_hints

import msgspec

Handler = Callable[..., Awaitable[Any]]
F = TypeVar("F", bound=Handler)
OTHER_READING = frozenset({"", "_band", "dashboard", "favicon.ico", "ws"})
"""First words of the paths that change nothing and are no endpoints: the page's, the live log's and band's own."""
_MARK = "__endpoint__"


class Endpoint(msgspec.Struct, frozen=True):
    """One path, answered to GET and POST alike.

    Attributes:
        name: that of the handler's method.
        params: the type of its parameters.
        answer: the type of its response.
        errors: the statuses of its errors, beside those that every endpoint may have.
        reads: it changes nothing, so a browser may open it out of nowhere.
        text: the response is text.
        free: it takes parameters that `params` does not name.
    """

    path: str
    summary: str
    name: str
    params: type[msgspec.Struct]
    answer: Any
    errors: tuple[int, ...] = ()
    reads: bool = False
    text: bool = False
    free: bool = False


class Text(msgspec.Struct, frozen=True):
    """A response that is text, whole or as it comes."""

    body: Any
    """A `str`, or an async generator of bytes."""
    content_type: str = "text/plain; charset=utf-8"


def route(path: str, summary: str, *errors: int, reads: bool = False) -> Callable[[F], F]:
    """Declare a method as the handler of a path; its annotations are the types of parameters and response.

    With a second parameter it gets those that the type of its first does not name, as a dictionary.
    """

    def mark(function: F) -> F:
        setattr(function, _MARK, (path, summary, errors, reads))
        return function

    return mark


def endpoints(*handlers: type) -> tuple[Endpoint, ...]:
    """Return the endpoints that classes declare, in the order of their methods."""
    return tuple(endpoint for kind in handlers for endpoint, _ in _declared(kind))


def bound(*handlers: object) -> list[tuple[Endpoint, Handler]]:
    """Return the endpoints of handlers, each with its method."""
    return [(endpoint, function.__get__(one)) for one in handlers for endpoint, function in _declared(type(one))]


def reading_words(found: Iterable[Endpoint]) -> frozenset[str]:
    """Return the first words of the paths that change nothing, those that are no endpoints among them."""
    return OTHER_READING | {endpoint.path.split("/")[1] for endpoint in found if endpoint.reads}


def _declared(kind: type) -> Iterator[tuple[Endpoint, Any]]:
    for name, function in vars(kind).items():
        if marked := getattr(function, _MARK, None):
            path, summary, errors, reads = marked
            hints = get_type_hints(function)
            given, *more = list(inspect.signature(function).parameters)[1:]
            answer, text = hints["return"], hints["return"] is Text
            yield (
                Endpoint(
                    path,
                    summary,
                    name.rstrip("_"),
                    hints[given],
                    str if text else answer,
                    errors,
                    reads,
                    text,
                    free=bool(more),
                ),
                function,
            )
