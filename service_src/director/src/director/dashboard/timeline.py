"""The response of `/trace/<id>` as a timeline. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from director.dashboard.formatting import count, milliseconds
from director.dashboard.lists import about_of

_TONES = {"ok": "ok", "cached": "ok", "error": "bad", "timeout": "warn", "absent": "warn"}
_SAID = {"taken": "ok", "left out": "idle", "dead letter": "bad"}


class Bar(msgspec.Struct, frozen=True):
    """An enricher's response: its time in ms, and its share (0 to 100) of the slowest one's."""

    name: str
    status: str
    tone: str
    ms: float | None
    share: float
    about: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the road: `at` after the beginning, what, and how it went; `when` is seconds since 1970, or 0."""

    at: str
    what: str
    text: str = ""
    when: float = 0.0
    tone: str = "ok"
    icon: str = "ok"
    bars: list[Bar] = []
    facts: Any = None
    facts_title: str = ""


def timeline(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the template's view of a response of `/trace/<id>`."""
    event = found.get("event")
    body: Mapping[str, Any] = event if isinstance(event, Mapping) else {}
    made = found.get("trace")
    trace: Mapping[str, Any] = made if isinstance(made, Mapping) else {}
    began = _number(trace.get("at")) or _number(found.get("time")) or 0.0
    steps = [_came(body, began), *_front(body, trace, found), *_groups(found.get("groups") or [], began)]
    return {"title": str(body.get("key") or "An event").removeprefix("in.gen."), "steps": steps}


def _came(body: Mapping[str, Any], began: float) -> Step:
    channel, project = body.get("channel"), body.get("projectId")
    where = f"by {channel}" if channel else ""
    of = f", project {project}" if project else ""
    return Step(
        at="0 ms", what="Received", text=f"{where}{of}", when=began / 1000, facts=body,
        facts_title="The full event, as it was stored",
    )  # fmt: skip


def _front(body: Mapping[str, Any], trace: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[Step]:
    enrichers = trace.get("enrichers")
    if isinstance(enrichers, Mapping) and enrichers:
        bars = _bars(enrichers, body)
        late = [bar.name for bar in bars if bar.tone != "ok"]
        text = f"Without {', '.join(late)}: an event does not wait for enrichers that do not answer." if late else ""
        tone, icon = ("warn", "warn") if late else ("ok", "ok")
        yield Step(at="", what=f"{count(len(bars), 'enricher')} asked", text=text, tone=tone, icon=icon, bars=bars)
    if trace.get("handler"):
        yield Step(at="", what=f"Answered by {trace['handler']}")
    took = _number(trace.get("ms"))
    kept = " Held in front's journal while Redis was unavailable." if trace.get("journaled") else ""
    yield Step(
        at=milliseconds(took) if took is not None else "",
        what="Accepted",
        text=f"Stored in the stream as {found.get('stream_id')}; then the client got its response.{kept}",
    )


def _bars(enrichers: Mapping[str, Any], body: Mapping[str, Any]) -> list[Bar]:
    facts = {str(name): fact if isinstance(fact, Mapping) else {} for name, fact in enrichers.items()}
    slowest = max((_number(fact.get("ms")) or 0.0 for fact in facts.values()), default=0.0) or 1.0
    return [
        Bar(
            name,
            str(fact.get("status", "")),
            _TONES.get(str(fact.get("status")), "idle"),
            _number(fact.get("ms")),
            round(100 * (_number(fact.get("ms")) or 0.0) / slowest, 1),
            about_of(name, body),
        )
        for name, fact in sorted(facts.items())
    ]


def _groups(groups: Any, began: float) -> list[Step]:
    steps = [(_number(group.get("at")) or float("inf"), _group(group, began)) for group in groups]
    return [step for _, step in sorted(steps, key=lambda pair: pair[0])]


def _group(group: Mapping[str, Any], began: float) -> Step:
    name, state, answer = group.get("group"), group.get("state"), group.get("answer")
    at = _number(group.get("at"))
    since = f"+{milliseconds(max(0.0, at - began))}" if at and began else ""
    if state == "waiting":
        return Step(at="", what=f"Waits for {name}", text="Not delivered yet.", tone="info", icon="wait")
    if state == "pending":
        times = count(int(group.get("deliveries") or 1), "time")
        text = f"Delivered {times}, last {milliseconds(group.get('idle_ms'))} ago; not acknowledged."
        return Step(at="", what=f"{name} is processing it", text=text, tone="info", icon="wait")
    if state == "dead_letter":
        reason = str(group.get("reason") or "no reason was given")
        return Step(at=since, what=f"{name} could not process it", text=reason, tone="bad", icon="bad")
    if state == "older":
        return Step(at="", what=f"Not for {name}", text="Older than this listener.", tone="idle", icon="stop")
    took = _number(group.get("ms"))
    text = f"Processed in {milliseconds(took)}." if took is not None else ""
    tone, said = _said(answer)
    known = state != "unknown" or said
    return Step(
        at=since,
        what=f"Processed by {name}" if known else f"{name}: no delivery record left",
        text=f"{text} {said}".strip() or "Delivered, or older than this listener.",
        tone=tone if known else "idle",
        icon="bad" if tone == "bad" else "ok" if known else "stop",
        facts=answer if isinstance(answer, Mapping) else None,
        facts_title="Its full report",
    )


def _said(answer: Any) -> tuple[str, str]:
    """Return the tone and the words of what a listener says of an event."""
    if not isinstance(answer, Mapping):
        return "ok", ""
    outcome = str(answer.get("outcome") or "")
    words = " ".join(str(answer[key]) for key in ("answer", "hint") if answer.get(key))
    said = ": ".join(part for part in (outcome, words) if part)
    return _SAID.get(outcome, "ok"), f"It reports “{said}”." if said else ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
