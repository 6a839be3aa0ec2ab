"""Events and calls: the newest events, the path of one, and methods of services."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from band_cli.client import Director, path_of
from band_cli.errors import BadInput, Refused
from band_cli.output import Output, clean, clock, plural, progress

FOLLOW_SECONDS = 1.0
MOST = 1000
"""The maximum number of events in a response."""
PAGE_TIMEOUT = 60.0
"""Timeout of a response in seconds: the director may read 100,000 entries for it."""
HELD = 100_000
"""Events that are buffered between two requests: the director returns the newest first."""


def read_pairs(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return the parameters written as `key=value` (a text) or `key:=value` (JSON), as HTTPie does.

    Raises:
        BadInput: one is neither.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip(":"):
            raise BadInput(f"{pair!r} is not a parameter", "write key=text or key:=json")
        if key.removesuffix(":") in found:
            raise BadInput(f"{key.removesuffix(':')!r} is given twice", """write a list as key:='["a", "b"]'""")
        try:
            found[key.removesuffix(":")] = json.loads(value) if key.endswith(":") else value
        except ValueError as error:
            raise BadInput(f"{pair!r}: the value is not JSON: {error}", "write key=text for a string") from error
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
        output.pretty(answer)
    else:
        output.json(answer)


def events(director: Director, output: Output, wanted: Mapping[str, Any], *, follow: bool, limit: int) -> None:
    """Write the newest events, oldest of them first; with `follow` those that come, too.

    Raises:
        BadInput: events that come are asked for, up to a time.
    """
    if follow and wanted.get("to"):
        raise BadInput("--follow and --to cannot be combined", "leave one of them out")
    for found in newest(director, wanted, limit, follow=follow):
        if output.as_json:
            output.json(found)
        else:
            output.line(event_line(found))


def newest(director: Director, wanted: Mapping[str, Any], limit: int, *, follow: bool) -> Iterator[dict[str, Any]]:
    """Yield up to `limit` stored events, then new ones, until the caller stops.

    Args:
        director: whom to ask.
        wanted: which events: `key`, `uid`, `from` and `to` of the director's `/events`.
        limit: how many of those that are stored.
        follow: whether to go on.
    """
    if not follow:
        yield from reversed(_pages(director, wanted, limit))
        return
    last = _newest_id(director)
    yield from reversed(_pages(director, {**wanted, "to": last}, limit))
    while True:
        time.sleep(FOLLOW_SECONDS)
        end = _newest_id(director)
        if end != last:
            rows = _pages(director, {**wanted, "from": _behind(last), "to": end}, HELD)
            if len(rows) == HELD:
                Output().note(f"band: more than {HELD} events since the last look; the oldest of them are not shown")
            yield from reversed(rows)
            last = end


def _pages(director: Director, wanted: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    """Return up to `limit` events, newest first, from as many responses as necessary."""
    rows: list[dict[str, Any]] = []
    before = None
    while len(rows) < limit:
        asked = {**wanted, "limit": min(MOST, limit - len(rows)), "before": before}
        page = director.get("/events", asked, timeout=PAGE_TIMEOUT)
        rows += page["events"]
        before = page.get("before")
        if before is None:
            break
    return rows


def _newest_id(director: Director) -> str:
    """Return the id of the newest event of any key: the position of a request that found nothing."""
    rows = director.get("/events", {"limit": 1})["events"]
    return str(rows[0]["stream_id"]) if rows else "0-0"


def _behind(stream_id: str) -> str:
    milliseconds, _, number = stream_id.partition("-")
    return f"{milliseconds}-{int(number or 0) + 1}"


def event_line(row: dict[str, Any]) -> str:
    """Return an event as one line: when it was stored, its id, its key, who and where from."""
    event = row["event"] if isinstance(row["event"], dict) else {}
    at = clock(int(row["stream_id"].partition("-")[0]) / 1000)
    facts = event.get("data")
    values = facts.values() if isinstance(facts, dict) else ()
    place = next((where for value in values if (where := _place(value))), "")
    words = [at, str(event.get("id", "-")), _key(row) or "-", str(event.get("uid") or ""), place]
    return clean("  ".join(word for word in words if word)).replace("\n", "�")


def _place(facts: Any) -> str:
    if not isinstance(facts, dict) or "country_iso" not in facts:
        return ""
    names = [facts.get("city_en") or facts.get("city_ru"), facts.get("country_iso")]
    return ", ".join(str(name) for name in names if name)


def trace(director: Director, output: Output, event_id: str) -> None:
    """Write the path of an event: how front processed it, and its state in each listener's group."""
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
        output.say("The stream has no listeners.")
        return
    output.table(["listener", "state", "at", "ms", "report"], [_group(row) for row in found["groups"]], right=("ms",))


def _enrichers(noted: Any) -> list[tuple[str, str, str]]:
    """Return name, milliseconds and outcome of the enrichers that front recorded."""
    found = noted.get("enrichers") if isinstance(noted, dict) else None
    facts = {name: fact for name, fact in (found or {}).items() if isinstance(fact, dict)}
    return [(name, str(fact.get("ms", "-")), str(fact.get("status", "-"))) for name, fact in sorted(facts.items())]


def _group(row: dict[str, Any]) -> tuple[str, ...]:
    told = row.get("answer")
    said = row.get("reason") or (json.dumps(told, ensure_ascii=False) if told else "")
    working = f"{row['consumer']} is processing it, delivery {row['deliveries']}" if row.get("consumer") else ""
    state = "processed" if row["state"] == "taken" else row["state"]
    at = clock(row["at"] / 1000) if row.get("at") else "-"
    ms = row.get("ms")
    return (row["group"], state, at, "-" if ms is None else str(ms), working or said)


def _key(row: dict[str, Any]) -> str:
    event = row["event"]
    return str(event.get("key", "")) if isinstance(event, dict) else ""


def replay(director: Director, output: Output, name: str, asked: Mapping[str, Any]) -> int:
    """Deliver events to a listener again and wait for the end, or show the progress; return the exit code.

    Args:
        director: whom to ask.
        output: where to write.
        name: the listener.
        asked: `from`, `to` and `key` of the director's `/replay`, or `resume`, or `stop`; nothing to only look. `group`
            chooses one of several listeners.

    Raises:
        BadInput: a range without its beginning.
        Refused: another replay runs, or the listener cannot do it.
    """
    body = {key: value for key, value in asked.items() if value}
    if not body.get("from") and (body.get("to") or body.get("key")):
        raise BadInput(
            "--to and --key belong to a new replay, and --from is missing", "add --from beginning, or a time"
        )
    path = path_of("replay", name)
    look = {"group": body["group"]} if "group" in body else None
    acts = body.keys() != {"group"} and bool(body)
    answer = director.post(path, body, timeout=PAGE_TIMEOUT)
    if answer.get("started") is False:
        raise Refused(
            f"a replay of {name} is already running: {_replay_facts(answer)}",
            f"band replay {name} shows its progress, band replay {name} --stop stops it", "replay_running",
        )  # fmt: skip
    with progress(f"{name} …") as show:
        while acts and answer["state"] == "running":
            show(f"{name}: {_replay_facts(answer)}")
            time.sleep(FOLLOW_SECONDS)
            answer = director.post(path, look, timeout=PAGE_TIMEOUT)
    if output.as_json:
        output.json(answer)
    elif isinstance(groups := answer.get("groups"), dict):
        for group, told in groups.items():
            output.say(f"{group}: {_replay_facts(told) if told['state'] != 'none' else 'no replay yet'}")
    elif answer["state"] == "none":
        output.say(f"No replay of {name} yet. To start one: band replay {name} --from TIME.")
    else:
        output.say(f"{name}: {_replay_facts(answer)}")
    return int(answer["state"] == "stopped" and acts and not body.get("stop"))


def _replay_facts(answer: Mapping[str, Any]) -> str:
    """Return the progress of a replay, and why it stopped."""
    facts = [f"replay {answer['state']}", f"{plural(answer['replayed'], 'event')} replayed"]
    if rejected := answer.get("rejected"):
        facts.append(f"{rejected} rejected (dead letters)")
    if left_out := answer.get("left_out"):
        facts.append(f"{left_out} skipped")
    # Whoever wants to go on after the entry at which it stopped needs its id.
    if at := answer.get("stopped_at") or _moment(answer.get("position") or ""):
        facts.append(f"at {at} of {_moment(answer['start'])} to {_moment(answer['end'])}")
    return ", ".join(facts) + (f": {answer['reason']}" if answer.get("reason") else "")


def _moment(entry: str) -> str:
    """Return the time of an entry of the stream, which its id begins with."""
    milliseconds = entry.partition("-")[0]
    if not milliseconds.isdigit():
        return clean(entry)
    return clock(int(milliseconds) / 1000) if int(milliseconds) else "the beginning"
