"""What a client may say of an event: when it happened; a server with a secret key also who did it, and its address."""

from __future__ import annotations

from typing import Final

from front.event.client_address import normal
from front.event.daily_visitor import DailyVisitors
from front.event.message import Message
from front.event.visitor_id import text_uid
from front.intake.families.family import text, time_said

MAX_CLOCK_SHIFT_MS: Final = 24 * 3600 * 1000
"""An event that claims to be older gets the time of its arrival."""
MAX_DEDUP_LENGTH: Final = 128


def apply_server_fields(event: Message) -> None:
    """Take `uid`, `time` or `ts`, and `ip` of an event of the native form from its data; the address leaves the data.

    A time in the future is replaced by the time of arrival.
    """
    data = event["data"]
    if uid := text_uid(text(data.get("uid"))):
        event["uid"] = uid
    if address := normal(text(data.pop("ip", ""))):
        event.setdefault("td", {})["ip"] = address
    for name in ("time", "ts"):
        at = time_said(data.get(name))
        if at is not None:
            event["time"] = min(at, event["time"])
            break


def apply_client_fields(event: Message, visitors: DailyVisitors) -> None:
    """Take `ts` of an event of the native form for its time, if within a day before its arrival, and `dedup`.

    The visitor of an event with `cookieless: true` and no uid is known for a day.
    """
    data = event["data"]
    if data.get("cookieless") is True and "uid" not in data:
        td = event["td"]
        event["uid"] = visitors.uid(event.get("projectId"), td.get("ip", ""), td.get("ua", ""))
    if "ts" in data:
        event["time"] = event_time(event["time"], time_said(data["ts"]), None)
    if "dedup" in data and 0 < len(dedup := text(data["dedup"])) <= MAX_DEDUP_LENGTH:
        event["dedup"] = dedup


def event_time(arrived: int, ts: int | None, sent_at: int | None, *, any_age: bool = False) -> int:
    """Return when an event happened, by our clock: its arrival less its age by the client's clock.

    Without `sent_at` the client's clock is taken to be right. Nothing happens in the future, or more than a day ago
    unless an event may have `any_age`.
    """
    if ts is None:
        return arrived
    age = (arrived if sent_at is None else sent_at) - ts
    return arrived - age if 0 <= age <= (arrived if any_age else MAX_CLOCK_SHIFT_MS) else arrived
