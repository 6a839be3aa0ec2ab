"""What a server may say of an event with a secret key: who did it, when, and from which address."""

from __future__ import annotations

from typing import Final

from front.event.client_address import normal
from front.event.message import Message
from front.event.visitor_id import text_uid
from front.intake.families.family import milliseconds, text

_MAX_DIGITS: Final = 16
"""Digits of a time in a query."""


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
        said = data.get(name)
        number = isinstance(said, str) and said.isdecimal() and len(said) <= _MAX_DIGITS
        at = milliseconds(int(said) if number else said)
        if at is not None:
            event["time"] = min(at, event["time"])
            break
