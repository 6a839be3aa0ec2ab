"""Coercion of clients' values to numbers and names, by JavaScript's rules as far as clients can see them."""

from __future__ import annotations

import math
import re
from typing import Any
from urllib.parse import unquote_to_bytes

Number = int | float

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_INT = re.compile(r"[+-]?[0-9]{1,19}")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_RADIX = re.compile(r"0(?:[xX][0-9A-Fa-f]{1,16}|[oO][0-7]{1,21}|[bB][01]{1,64})")


def percent_decoded(text: str) -> str:
    """Decode `%XX`; text that is not valid percent-encoded UTF-8 stays as it is."""
    if _BAD_ESCAPE.search(text):
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return text


def to_number(value: Any) -> Number | None:
    """Read a project id: what `Number(value)` gives; None (JSON `null`) for what is not a finite number."""
    if isinstance(value, str):
        return _text_to_number(value.strip())
    if value is None:
        return 0
    if isinstance(value, (bool, int)):
        return int(value)
    return value if isinstance(value, float) and math.isfinite(value) else None


def _text_to_number(text: str) -> Number | None:
    if not text:
        return 0
    if _INT.fullmatch(text):
        return int(text)
    if _RADIX.fullmatch(text):
        return int(text, 0)
    if len(text) > 64 or not _FLOAT.fullmatch(text):
        return None
    number = float(text)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def to_name(value: Any) -> str | None:
    """Return the text of a service or event name inside an event key; None when the value cannot be a name.

    Text and numbers are names; lists, objects and true/false are not.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() else repr(value)
    return None
