"""Events and calls: the newest events, the path of one, and methods of services."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from band_cli.client import Director, path_of
from band_cli.errors import BadInput
from band_cli.output import Output, clean, clock

FOLLOW_SECONDS = 1.0
FEW, MOST = 50, 1000
"""Events that are asked for at once: in the usual second, and what the director gives at most."""


def read_pairs(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return the parameters written as `key=value` (a text) or `key:=value` (JSON), as HTTPie does.

    Raises:
        BadInput: one is neither.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip(":"):
            raise BadInput(f"{pair!r} is no parameter", "write key=text or key:=json")
        try:
            found[key.removesuffix(":")] = json.loads(value) if key.endswith(":") else value
        except ValueError as error:
            raise BadInput(f"{pair!r}: the value is not JSON: {error}", "write key=text for a text") from error
    return found


def call(
    director: Director, output: Output, service: str, method: str, pairs: tuple[str, ...], timeout: float | None
) -> None:
    """Call a method and write its result as JSON; on a terminal indented and coloured."""
    body = read_pairs(pairs)
    if timeout is not None:
        body["timeout__"] = timeout
    answer = director.post(path_of("call", service, method), body, timeout=(timeout or 2.0) + 30)
    if output.on_terminal:
        output.console.print_json(json.dumps(answer))
    else:
        output.json(answer)


def events(director: Director, output: Output, key: str, *, follow: bool, limit: int) -> None:
    """Write the newest events, oldest of them first; with `follow` those that come, too."""
    for found in newest(director, key, limit, follow=follow):
        if output.as_json:
            output.json(found)
        else:
            output.line(event_line(found))


def newest(director: Director, key: str, limit: int, *, follow: bool) -> Iterator[dict[str, Any]]:
    """Yield up to `limit` stored events whose key begins with `key`, then those that come, until nobody listens."""
    asked = MOST if key else limit
    rows = director.get("/events", {"limit": asked})["events"]
    last = rows[0]["stream_id"] if rows else "0-0"
    yield from reversed([row for row in rows if _key(row).startswith(key)][:limit])
    while follow:
        time.sleep(FOLLOW_SECONDS)
        fresh = _since(director, last)
        if fresh:
            last = fresh[0]["stream_id"]
        yield from reversed([row for row in fresh if _key(row).startswith(key)])


def _since(director: Director, last: str) -> list[dict[str, Any]]:
    """Return the events behind an entry, newest first: the director gives the newest, so a few are asked for first."""
    rows: list[dict[str, Any]] = []
    for limit in (FEW, MOST):
        rows = director.get("/events", {"limit": limit})["events"]
        if len(rows) < limit or _order(rows[-1]["stream_id"]) <= _order(last):
            return [row for row in rows if _order(row["stream_id"]) > _order(last)]
    Output().note(f"band: more than {MOST} events in {FOLLOW_SECONDS:g} s; the oldest of them are left out")
    return rows


def event_line(row: dict[str, Any]) -> str:
    """Return an event as one line: when it was stored, its id, its key, who and where from."""
    event = row["event"] if isinstance(row["event"], dict) else {}
    at = clock(int(row["stream_id"].partition("-")[0]) / 1000)
    facts = event.get("data")
    values = facts.values() if isinstance(facts, dict) else ()
    place = next((where for value in values if (where := _place(value))), "")
    words = [at, str(event.get("id", "-")), _key(row) or "-", str(event.get("uid") or ""), place]
    return clean("  ".join(word for word in words if word))


def _place(facts: Any) -> str:
    if not isinstance(facts, dict) or "country_iso" not in facts:
        return ""
    names = [facts.get("city_en") or facts.get("city_ru"), facts.get("country_iso")]
    return ", ".join(str(name) for name in names if name)


def trace(director: Director, output: Output, event_id: str) -> None:
    """Write the path of an event: what front made of it, and what became of it in each listener's group."""
    found = director.get(path_of("trace", event_id), timeout=60.0)
    if output.as_json:
        output.json(found)
        return
    event = found["event"]
    output.facts({
        "event": found["id"], "key": event.get("key"), "at": clock(found["time"] / 1000), "uid": event.get("uid"),
        "stored as": found["stream_id"],
    })  # fmt: skip
    if enrichers := _enrichers(found.get("trace")):
        output.say("")
        output.table(["enricher", "ms", "result"], enrichers, right=("ms",))
    output.say("")
    if not found["groups"]:
        output.say("No listener has a group on the stream.")
        return
    output.table(
        ["listener", "state", "at", "ms", "what it says"], [_group(row) for row in found["groups"]], right=("ms",)
    )


def _enrichers(noted: Any) -> list[tuple[str, str, str]]:
    """Return name, milliseconds and outcome of the enrichers, of what front noted."""
    found = noted.get("enrichers") if isinstance(noted, dict) else None
    facts = {name: fact for name, fact in (found or {}).items() if isinstance(fact, dict)}
    return [(name, str(fact.get("ms", "-")), str(fact.get("status", "-"))) for name, fact in sorted(facts.items())]


def _group(row: dict[str, Any]) -> tuple[str, ...]:
    told = row.get("answer")
    said = row.get("reason") or (json.dumps(told, ensure_ascii=False) if told else "")
    held = f"held by {row['consumer']}, {row['deliveries']} deliveries" if row.get("consumer") else ""
    at = clock(row["at"] / 1000) if row.get("at") else "-"
    ms = row.get("ms")
    return (row["group"], row["state"], at, "-" if ms is None else str(ms), held or said)


def _key(row: dict[str, Any]) -> str:
    event = row["event"]
    return str(event.get("key", "")) if isinstance(event, dict) else ""


def _order(stream_id: str) -> tuple[int, int]:
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number or 0)
