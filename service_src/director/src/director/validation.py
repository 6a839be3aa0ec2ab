"""The forms of names and values, each with its sentence: people correct `2x3` sooner than a regular expression."""

from __future__ import annotations

import re

# `$` alone also matches before a line end at the end of a text.
NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,62}$(?!\n)"
PROJECT_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,63}$(?!\n)"
NAMESPACE_PATTERN = r"^[a-z][a-z0-9-]{0,31}$(?!\n)"
POS_PATTERN = r"^(0|[1-9][0-9]?)x(0|[1-9][0-9]?)$(?!\n)"
ENV_KEY_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$(?!\n)"
MEMORY_PATTERN = r"^[0-9]{1,12}(\.[0-9]+)?[bkmgBKMG]?$(?!\n)"
ENV_VALUE_PATTERN = r"^[^\x00]*$"
RELEASE_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$(?!\n)"
METHOD_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}$(?!\n)"
EVENT_ID_PATTERN = r"^[0-9]{1,20}$(?!\n)"
REDIS_KEY_PATTERN = r"^(\*|[A-Za-z0-9_.:@{}-]{1,128}\*?)$(?!\n)"
STREAM_ID_PATTERN = r"^[0-9]{1,19}(-[0-9]{1,19})?$(?!\n)"
PLACE_PATTERN = r"^(beginning|now|[0-9][0-9T:.+ Z-]{3,39})$(?!\n)"
STREAM_IDS_PATTERN = r"^[0-9]{1,19}-[0-9]{1,19}(,[0-9]{1,19}-[0-9]{1,19}){0,99}$(?!\n)"

IN_WORDS = {
    NAME_PATTERN: "a name of a-z, 0-9, _ and -, beginning with a letter, as in send_mixpanel",
    PROJECT_PATTERN: "a project's id of a-z, 0-9, _ and -, beginning with a letter or digit, of at most 64 characters",
    NAMESPACE_PATTERN: "a name of a-z, 0-9 and -, beginning with a letter, of at most 32 characters",
    POS_PATTERN: "a place on the grid, column x row, as in 2x3; both from 0 to 99",
    ENV_KEY_PATTERN: "a name of letters, digits and _, as in LOG_LEVEL",
    MEMORY_PATTERN: "an amount of memory, as in 350m or 1.5g",
    METHOD_PATTERN: "the name of a method: letters, digits, _, . and -, as in dead_letters",
    EVENT_ID_PATTERN: "an event's id: up to 20 digits, as in front's response",
    STREAM_ID_PATTERN: "an id of the stream, as in 1795470000000-0",
    PLACE_PATTERN: "beginning, now, a time as in 2026-11-27T09:30, or an id as in 1795470000000-0",
    STREAM_IDS_PATTERN: "ids of the stream separated by commas, as in 1795470000000-0,1795470000000-1",
    RELEASE_PATTERN: "a release's id, as shown by GET /releases/<name>",
    ENV_VALUE_PATTERN: "a string without NUL characters",
}

_PLACE = re.compile(r"(?P<key>`key` in )?`\$\.?(?P<path>.*)`$", re.DOTALL)
_REGEX = re.compile(r"Expected `str` matching regex (?P<quote>['\"])(?P<pattern>.*)(?P=quote)$", re.DOTALL)
_BOUND = re.compile(r"Expected `(?P<kind>\w+)` (?P<sign>>=|<=|>|<) (?P<bound>.+)$")
_TYPE = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<given>[^`]+)`$")
_FIELD = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>[^`]*)`$")
_KINDS = {
    "int": "a whole number", "float": "a number", "str": "a string", "bool": "true or false", "object": "an object",
    "array": "a list", "null": "nothing",
}  # fmt: skip
_SIGNS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}


def explain(message: str) -> str:
    """Return msgspec's message as a sentence: `pos: must be a place on the grid, column x row, as in 2x3`."""
    what, _, place = message.partition(" - at ")
    match = _PLACE.match(place)
    said = _sentence(what)
    if match is None or not match["path"]:
        return said
    return f"{match['path']}{' (a key)' if match['key'] else ''}: {said}"


def _sentence(what: str) -> str:
    if match := _REGEX.match(what):
        return f"must be {IN_WORDS.get(match['pattern'].replace(chr(92) * 2, chr(92)), 'in another format')}"
    if match := _BOUND.match(what):
        return f"must be {_SIGNS[match['sign']]} {match['bound'].removesuffix('.0')}"
    if match := _TYPE.match(what):
        wanted = " or ".join(_KINDS.get(part.strip(), part.strip()) for part in match["wanted"].split("|"))
        return f"must be {wanted}, not {_KINDS.get(match['given'], match['given'])}"
    if match := _FIELD.match(what):
        return (
            f"{match['name']!r} is missing" if match["what"].startswith("missing") else f"{match['name']!r} is unknown"
        )
    return what
