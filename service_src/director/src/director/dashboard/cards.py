"""A service as its card shows it, and where the card stands on the grid. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from band.platform import FRONTIER_SERVICE
from director.api.schemas import DataFacts, ServiceRow
from director.dashboard.formatting import Look, count, duration, look, mebibytes, percent
from director.images.buildkit import BuildLog
from director.state.crash_log import CrashLoop
from director.state.history import release_id

Cell = tuple[int, int]
FRONT_PORT = 10001
"""Host port of front's band.yml."""
FEWEST_COLUMNS = 3
MOST_COLUMNS = 8
"""Columns that the style sheet has; what stands further right goes to free cells."""


class Fact(msgspec.Struct, frozen=True):
    """One line of a card: `label` and `value`; `note` is its long form, `tone` its colour."""

    label: str
    value: str
    note: str = ""
    tone: str = ""


class Gauge(msgspec.Struct, frozen=True):
    """A share of a limit, in bytes."""

    value: int
    limit: int
    text: str


class Reason(msgspec.Struct, frozen=True):
    """The reason of a service's health, and what to do; `tone` is its colour."""

    text: str
    tone: str


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the template of a card needs."""

    name: str
    title: str
    look: Look
    role: str = ""
    facts: list[Fact] = []
    gauge: Gauge | None = None
    crash: CrashLoop | None = None
    reasons: list[Reason] = []
    dead_letters: int = 0
    building: BuildLog | None = None
    busy: bool = False
    running: bool = False
    ours: bool = True
    """Whether it is the director's to stop, to start and to remove."""
    release: str = ""
    pos: str = ""
    port: int = 0
    """Its first host port; 0: none."""


def card(row: ServiceRow, now: float, *, building: BuildLog | None = None, busy: bool = False) -> Card:
    """Return the card of a row of `/list`; `busy` when a request for the service is being carried out.

    `now` is seconds since 1970.
    """
    running = row.state == "running"
    shown = look(row.health, row.wanted)
    return Card(
        name=row.name,
        title=row.title if row.title != row.name else "",
        look=shown,
        role=_role(row),
        facts=list(_facts(row, running, now)),
        gauge=_gauge(row),
        crash=row.crash,
        reasons=list(_reasons(row, shown)),
        dead_letters=row.dead_letters,
        building=building,
        busy=busy,
        running=running or row.wanted == "running",
        ours=row.state != "external" or row.wanted != "unknown",
        release=row.release or _release(row.image),
        pos=row.pos or "",
        port=row.ports[0].host if row.ports else 0,
    )


def _facts(row: ServiceRow, running: bool, now: float) -> Iterator[Fact]:
    if running:
        yield Fact("up", duration(row.uptime))
        yield Fact("cpu", percent(row.cpu_percent), "of one CPU")
    elif row.state == "external":
        yield Fact(
            "runs", "elsewhere", "it announces itself on Redis, and does not run in a container of this director"
        )
    elif row.exit_code is not None:
        yield Fact("exit code", str(row.exit_code), tone="bad" if row.exit_code else "")
    if row.watch_until:
        left = row.watch_until - now
        yield Fact(
            "probation",
            f"{duration(max(0.0, left))} left",
            "rolled back automatically if it becomes unhealthy in this time",
        )
    if row.restarts or row.crashes:
        noted = f", {count(row.crashes, 'crash', 'crashes')} recently" if row.crashes else ""
        yield Fact("restarts", str(row.restarts) + noted, tone="warn" if row.crashes else "")
    else:
        yield Fact("restarts", "0")
    ports = ", ".join(f"{port.host} → {port.container}" for port in row.ports)
    if ports:
        yield Fact("port" if len(row.ports) == 1 else "ports", ports, "on the host → in the container")
    if row.data is not None:
        yield _data(row.data)


def _data(data: DataFacts) -> Fact:
    source = " · ".join(str(fact) for fact in (data.source, data.build_date, data.warning) if fact)
    return Fact("data", _days(data.age_days), source, "warn" if data.warning else "")


def _days(age: float) -> str:
    return "of today" if age < 1 else f"{count(int(age), 'day')} old"


def _gauge(row: ServiceRow) -> Gauge | None:
    used, limit = row.memory, row.memory_limit
    if used is None:
        return None
    if limit is None or limit <= 0 or limit > 2**50:
        return Gauge(0, 0, mebibytes(used))
    return Gauge(used, limit, f"{mebibytes(used)} of {mebibytes(limit)}")


def _role(row: ServiceRow) -> str:
    roles = {item.get("role") for item in row.register or [] if isinstance(item, Mapping)}
    return ", ".join(sorted(role for role in roles if isinstance(role, str)))


def _reasons(row: ServiceRow, shown: Look) -> Iterator[Reason]:
    if shown.trouble and row.health_reason and not row.crash:
        yield Reason(row.health_reason, shown.tone)
    if (back := row.rolled_back) is not None:
        source, reason = (back.source or "a release")[:8], back.reason or "not well"
        yield Reason(f"Rolled back automatically from {source}: {reason}", "warn")


def front_port(cards: Iterable[tuple[Card, Cell]]) -> int:
    """Return the host port of front, or the usual one while front has none."""
    return next((one.port for one, _ in cards if one.name == FRONTIER_SERVICE and one.port), FRONT_PORT)


def place(wanted: Mapping[str, str | None]) -> dict[str, Cell]:
    """Return a cell (column, row, both from 1) for each service, given its `pos` ("2x3": column 2, row 3) or None.

    Empty columns and rows are left out: the order is kept, the gaps are not. Of two services with the same place the
    first by name gets it; the other goes to the next free cell, like those without a place.
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


def _release(image: str) -> str:
    """Return the id of the release that an image is of; empty when its tag names none."""
    _, colon, tag = image.rpartition(":")
    return release_id(image) if colon and "/" not in tag else ""
