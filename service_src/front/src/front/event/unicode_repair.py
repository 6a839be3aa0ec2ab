"""JSON that is not valid Unicode, made valid: half surrogate pairs and bytes that are not UTF-8 become U+FFFD.

Browsers and JavaScript services send halves (`"😀".slice(0, 1)`), and the original took them. Python's and most other
readers behind the stream would not.
"""

from __future__ import annotations

import re
from typing import Final

_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE_LOW: Final = re.compile(rb"(?<!%b)%b" % (_HIGH, _LOW))
_LONE_HIGH: Final = re.compile(rb"%b(?!%b)" % (_HIGH, _LOW))
_REPLACEMENT: Final = rb"\\ufffd"
_BACKSLASH: Final = rb"\\"


def replace_broken(json: bytes) -> bytes:
    """Return a JSON text with U+FFFD for each invalid sequence, counted as browsers do."""
    text = json.decode("utf-8", "replace").encode()
    # Between escaped backslashes every backslash begins an escape, so `\\ud83d`, which is plain text, is left alone.
    parts = [_LONE_HIGH.sub(_REPLACEMENT, _LONE_LOW.sub(_REPLACEMENT, part)) for part in text.split(_BACKSLASH)]
    return _BACKSLASH.join(parts)


def whole_pairs(json: bytes) -> bytes:
    """Return a JSON text in UTF-8 with U+FFFD for half surrogate pairs."""
    # Not `in`: for bytes it first checks whether the operand is a number, and creates an error each time.
    return json if json.find(b"\\ud") < 0 and json.find(b"\\uD") < 0 else replace_broken(json)


def valid_unicode(json: bytes) -> bytes:
    """Return a JSON text unchanged if it is certainly valid Unicode, else repaired with U+FFFD."""
    try:
        json.decode()
    except UnicodeDecodeError:
        return replace_broken(json)
    return whole_pairs(json)
