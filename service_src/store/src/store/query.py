"""What is asked of the reading process, and its answers. Both go as lines of JSON."""

from __future__ import annotations

from typing import Any

import msgspec


class Query(msgspec.Struct, frozen=True):
    """A statement, the files that have the events, and the limits of its answer."""

    sql: str
    files: list[str]
    rows: int
    bytes: int
    seconds: float


class Answer(msgspec.Struct, frozen=True):
    """The rows of an answer, or why there is none."""

    columns: list[str] = []
    types: list[str] = []
    rows: list[list[Any]] = []
    truncated: bool = False
    """Whether there were more rows, or more bytes, than the limits."""
    error: str = ""
