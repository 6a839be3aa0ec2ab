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
    """Return a JSON text with U+FFFD for whatever in it is not valid Unicode; one for each, as browsers count."""
    text = json.decode("utf-8", "replace").encode()
    # Between escaped backslashes every backslash begins an escape, so `\\ud83d`, which is plain text, is left alone.
    parts = [_LONE_HIGH.sub(_REPLACEMENT, _LONE_LOW.sub(_REPLACEMENT, part)) for part in text.split(_BACKSLASH)]
    return _BACKSLASH.join(parts)


def valid_unicode(json: bytes) -> bytes:
    """Return a JSON text as it is when it is surely valid Unicode, else with U+FFFD for what is not."""
    if b"\\ud" in json or b"\\uD" in json:
        return replace_broken(json)
    try:
        json.decode()
    except UnicodeDecodeError:
        return replace_broken(json)
    return json
