"""The grid's places: one service each, as far as the operator places them. Folders may well name the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from director.errors import Conflict
from director.state.desired import Wanted

ROWS = 99


class Places:
    """The places that requests under way ask for: of two that ask for one at once, the second is refused."""

    def __init__(self, wanted: Callable[[], Mapping[str, Wanted]]) -> None:
        self._wanted = wanted
        self._claims: dict[str, str] = {}

    @contextmanager
    def claim(self, pos: str | None, name: str) -> Iterator[None]:
        """Have service `name` ask for `pos` within the block; None asks for nothing.

        Raises:
            Conflict: somebody else is there, or is about to be.
        """
        if pos is None:
            yield
            return
        check_free(pos, name, self._wanted())
        if self._claims.get(pos, name) != name:
            raise Conflict(f"place {pos} is about to be taken by {self._claims[pos]!r}", "choose another place")
        self._claims[pos] = name
        try:
            yield
        finally:
            self._claims.pop(pos, None)


def check_free(pos: str, name: str, wanted: Mapping[str, Wanted]) -> None:
    """Return if service `name` may be put at `pos`: nobody else is there, or it is there already.

    Raises:
        Conflict: somebody else is there; the hint names a free place in the same column.
    """
    taken = {item.pos: other for other, item in wanted.items() if item.state != "removed" and other != name}
    own = wanted.get(name)
    if pos not in taken or (own is not None and own.pos == pos):
        return
    raise Conflict(
        f"place {pos} is taken by {taken[pos]!r}",
        f"{_free(pos, set(taken))} is free; /set_pos/{taken[pos]} moves the other one",
        service=taken[pos],
    )


def _free(pos: str, taken: set[str | None]) -> str:
    column, _, row = pos.partition("x")
    spots = (f"{column}x{(int(row) - 1 + further) % ROWS + 1}" for further in range(1, ROWS))
    return next((spot for spot in spots if spot not in taken), "another column")
