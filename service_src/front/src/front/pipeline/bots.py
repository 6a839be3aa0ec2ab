"""Which events are of bots: those that uaparser recognized."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from front.event.message import Message

_ENRICHER: Final = "uaparser"


class _Verdict(msgspec.Struct):
    is_bot: Any = 0


_decode = msgspec.json.Decoder(_Verdict).decode


def is_bot(data: Message) -> bool:
    """Return whether the enrichment of an event says so. It may still be JSON."""
    found = data.get(_ENRICHER)
    if isinstance(found, msgspec.Raw):
        try:
            found = {"is_bot": _decode(found).is_bot}
        except msgspec.DecodeError:
            return False
    return isinstance(found, dict) and bool(found.get("is_bot"))
