"""Whether a visitor objects to being tracked: Global Privacy Control, or a consent that was refused."""

from __future__ import annotations

from typing import Any

from band.privacy import MARK
from front.message import Message

_NO = frozenset({"0", "false", "no", "off", "denied", "refused"})


def mark_objection(message: Message, *, gpc: bool) -> None:
    """Add `privacy` as the last field of a message whose sender objects; others stay as they are.

    `gpc` is whether the header `Sec-GPC` says 1. Reasons: `gpc`, and `consent` for a `consent` in the data that is a
    refusal.
    """
    reasons = []
    if gpc:
        reasons.append("gpc")
    if "consent" in message["data"] and _refuses(message["data"]["consent"]):
        reasons.append("consent")
    if reasons:
        message[MARK] = reasons


def _refuses(consent: Any) -> bool:
    if isinstance(consent, str):
        return consent.strip().lower() in _NO
    return consent is False or (type(consent) is int and consent == 0)
