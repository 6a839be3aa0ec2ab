"""Objection to tracking: Global Privacy Control, or consent that was refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from band.platform import MARK, NO, YES
from front.event.message import Message

_NO = NO - {""} | {"denied", "refused"}
_YES = YES | {"given", "granted"}


def consent_of(*sources: Mapping[str, Any]) -> bool | None:
    """Return the sender's consent: False refused, True given, None unknown.

    It may be at the top level of a source or in its `data`, where the tracker puts what a page passes to it. A refusal
    anywhere wins.
    """
    said: bool | None = None
    for source in sources:
        data = source.get("data")
        for place in (source, data) if isinstance(data, dict) else (source,):
            if "consent" in place:
                meant = _meaning(place["consent"])
                if meant is False:
                    return False
                said = said or meant
    return said


def mark_objection(message: Message, *, gpc: bool, refused: bool) -> None:
    """Add `privacy`, the list of reasons, as the last field of a message whose sender objects; drop its `fpid`.

    Other messages are unchanged. `gpc` is whether the header `Sec-GPC` is 1; `refused`, whether consent was refused, or
    is required and was not given.
    """
    if gpc or refused:
        message[MARK] = [reason for reason, holds in (("gpc", gpc), ("consent", refused)) if holds]
        message["data"].pop("fpid", None)


def _meaning(consent: Any) -> bool | None:
    """Return what a value says. Of several (a list, or an object with numbers for names) one refusal is enough.

    A form with `consent[]` twice is an object with a list in it. Segment's libraries send categories: a refusal of all
    is one.
    """
    if isinstance(consent, dict) and isinstance(categories := consent.get("categoryPreferences"), dict):
        return False if set(map(_word, categories.values())) == {False} else None
    if isinstance(consent, dict) and all(map(str.isdecimal, consent)):
        consent = list(consent.values())
    if isinstance(consent, list):
        meant = [_word(one) for several in consent for one in (several if isinstance(several, list) else [several])]
        return False if False in meant else True if True in meant else None
    return _word(consent)


def _word(consent: Any) -> bool | None:
    if isinstance(consent, bool):
        return consent
    if isinstance(consent, (int, float)):
        return bool(consent) if consent in (0, 1) else None
    word = consent.strip().lower() if isinstance(consent, str) else ""
    return False if word in _NO else True if word in _YES else None
