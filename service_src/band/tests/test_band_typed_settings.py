"""Settings as one typed Struct."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
import pytest

from band.errors import SettingsError
from band.typed_settings import load


class Shop(msgspec.Struct, frozen=True):
    """Settings of a service."""

    name: str
    count: Annotated[int, msgspec.Meta(ge=1, le=9)] = 3
    share: float = 0.5
    open: bool = True
    all: bool = msgspec.field(default=False, name="listen.all")
    tags: frozenset[str] = frozenset()
    token: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0

    def problems(self) -> Iterator[str]:
        if self.name == "wrong":
            yield "the name is wrong"


def test_the_first_source_wins_and_texts_become_types() -> None:
    """Environment variables are texts; what is empty or missing is left to the next source, then to the default."""
    given = {"name": "a", "count": "4", "open": "no", "tags": "x, y", "listen": {"all": "yes"}, "share": ""}
    assert load(Shop, given, {"count": 9, "share": "0.25"}) == Shop("a", 4, 0.25, False, True, frozenset("xy"))
    assert load(Shop, {"tags": ["x"]}, name="b") == Shop("b", tags=frozenset("x"))


def test_all_that_is_wrong_is_told_together_without_secrets() -> None:
    """Types, ranges, what the Struct finds itself, and what was known before; the value of a secret is not shown."""
    given = {"name": "wrong", "count": 10, "share": "much", "open": "perhaps", "tags": 5, "token": "hunter2"}
    with pytest.raises(SettingsError) as caught:
        load(Shop, given, problems=["the first"])
    text = str(caught.value)
    for part in (
        "the first", "count=10 is not a whole number from 1 to 9", "share='much' is not a number", "open='perhaps'",
        "tags=5 is neither a text nor a list", "token=*** is not a whole number from 0 to 9", "the name is wrong",
    ):  # fmt: skip
        assert part in text
    assert "hunter2" not in text
