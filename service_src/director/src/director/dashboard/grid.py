"""Where the services stand: each at its `pos`, the others on free cells. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Cell = tuple[int, int]
FEWEST_COLUMNS = 3
MOST_COLUMNS = 8
"""Columns that the style sheet has; what stands further right goes to free cells."""


def place(wanted: Mapping[str, str | None]) -> dict[str, Cell]:
    """Return a cell (column, row, both from 1) for each service, given its `pos` ("2x3": column 2, row 3) or None.

    Columns and rows in which nothing stands are left out, so the picture keeps its order and not its gaps. Of two with
    one place the first by name has it; the other goes to the next free cell, as those do that have none.
    """
    asked = {name: cell for name, pos in sorted(wanted.items()) if (cell := _read(pos)) is not None}
    columns = _ranks(cell[0] for cell in asked.values())
    rows = _ranks(cell[1] for cell in asked.values())
    placed: dict[str, Cell] = {}
    taken: set[Cell] = set()
    for name, (column, row) in asked.items():
        cell = (columns[column], rows[row])
        if cell not in taken and cell[0] <= MOST_COLUMNS:
            placed[name] = cell
            taken.add(cell)
    width = max(FEWEST_COLUMNS, *(cell[0] for cell in taken)) if taken else FEWEST_COLUMNS
    free = (cell for cell in _cells(width) if cell not in taken)
    for name in sorted(set(wanted) - set(placed)):
        placed[name] = next(free)
    return placed


def _cells(width: int) -> Iterable[Cell]:
    row = 0
    while True:
        row += 1
        yield from ((column, row) for column in range(1, width + 1))


def _ranks(values: Iterable[int]) -> dict[int, int]:
    return {value: rank for rank, value in enumerate(sorted(set(values)), 1)}


def _read(pos: str | None) -> Cell | None:
    column, _, row = (pos or "").partition("x")
    if not (column.isdigit() and row.isdigit()):
        return None
    return int(column), int(row)
