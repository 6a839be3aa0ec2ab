"""A service as its card shows it: facts in words, and what can be done with it now. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from director.dashboard.formatting import Look, count, duration, look, mebibytes, percent
from director.images.progress import Building

Row = Mapping[str, Any]


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
    """Why a service is as it is, and what to do; `tone` is its colour."""

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
    crash: Mapping[str, Any] | None = None
    reasons: list[Reason] = []
    dead_letters: int = 0
    building: Building | None = None
    busy: bool = False
    running: bool = False
    ours: bool = True
    """Whether it is the director's to stop, to start and to remove."""
    release: str = ""
    pos: str = ""


def card(row: Row, now: float, *, building: Building | None = None, busy: bool = False) -> Card:
    """Return the card of a row of `/list`; `busy` when a request for the service is being carried out.

    `now` is seconds since 1970.
    """
    running = row["state"] == "running"
    crash = row.get("crash")
    shown = look(row["health"], row["wanted"])
    return Card(
        name=row["name"],
        title=row["title"] if row["title"] != row["name"] else "",
        look=shown,
        role=_role(row),
        facts=list(_facts(row, running, now)),
        gauge=_gauge(row),
        crash=crash if isinstance(crash, Mapping) else None,
        reasons=list(_reasons(row, shown)),
        dead_letters=row["dead_letters"],
        building=building,
        busy=busy,
        running=running or row["wanted"] == "running",
        ours=row["state"] != "external" or row["wanted"] != "unknown",
        release=row.get("release") or release(row["image"]),
        pos=row["pos"] or "",
    )


def release(image: str) -> str:
    """Return the id of a release: the first 12 digits of its image's tag."""
    _, colon, tag = image.rpartition(":")
    return tag[:12] if colon and "/" not in tag else ""


def _facts(row: Row, running: bool, now: float) -> Iterator[Fact]:
    if running:
        yield Fact("up", duration(row["uptime"]))
        yield Fact("cpu", percent(row.get("cpu_percent")), "of one CPU")
    elif row["state"] == "external":
        yield Fact("runs", "elsewhere", "it announces itself, and runs in no container of this director")
    elif row.get("exit_code") is not None:
        yield Fact("exit code", str(row["exit_code"]), tone="bad" if row["exit_code"] else "")
    if row.get("watch_until"):
        left = row["watch_until"] - now
        yield Fact(
            "watched", f"{duration(max(0.0, left))} more", "a new release that is not well in this time goes back"
        )
    if row["restarts"] or row["crashes"]:
        noted = f", {count(row['crashes'], 'crash', 'crashes')} of late" if row["crashes"] else ""
        yield Fact("restarts", str(row["restarts"]) + noted, tone="warn" if row["crashes"] else "")
    else:
        yield Fact("restarts", "0")
    ports = ", ".join(f"{port['host']} → {port['container']}" for port in row["ports"])
    if ports:
        yield Fact("port" if len(row["ports"]) == 1 else "ports", ports, "on the host → in the container")
    data = row.get("data")
    if isinstance(data, Mapping):
        yield _data(data)


def _data(data: Mapping[str, Any]) -> Fact:
    age = data.get("age_days")
    days = "not there yet" if not isinstance(age, int | float) else _days(age)
    source = " · ".join(str(data[key]) for key in ("source", "build_date", "warning") if data.get(key))
    missing = age is None or bool(data.get("warning"))
    return Fact("data", days, source, "warn" if missing else "")


def _days(age: float) -> str:
    return "of today" if age < 1 else f"{count(int(age), 'day')} old"


def _gauge(row: Row) -> Gauge | None:
    used, limit = row.get("memory"), row.get("memory_limit")
    if not isinstance(used, int):
        return None
    if not isinstance(limit, int) or limit <= 0 or limit > 2**50:
        return Gauge(0, 0, mebibytes(used))
    return Gauge(used, limit, f"{mebibytes(used)} of {mebibytes(limit)}")


def _role(row: Row) -> str:
    roles = {item.get("role") for item in row.get("register") or [] if isinstance(item, Mapping)}
    return ", ".join(sorted(role for role in roles if isinstance(role, str)))


def _reasons(row: Row, shown: Look) -> Iterator[Reason]:
    if shown.trouble and row["health_reason"] and not row.get("crash"):
        yield Reason(row["health_reason"], shown.tone)
    if isinstance(rolled_back := row.get("rolled_back"), Mapping):
        yield Reason(_went_back(rolled_back), "warn")


def _went_back(record: Mapping[str, Any]) -> str:
    """Return what the director did by itself to a release that was not well."""
    return (
        f"Rolled back from {str(record.get('from') or 'a release')[:8]} by itself: {record.get('reason') or 'not well'}"
    )
