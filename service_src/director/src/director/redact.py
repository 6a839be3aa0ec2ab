"""Secrets never leave: values of secret-looking keys, and passwords in DSNs, are replaced before anything is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

S = TypeVar("S", bound=msgspec.Struct)
MASK = "***"
SHORTEST = 6
"""Characters below which a value is too short to mask: it would hide harmless text."""
SHORTEST_LINE = 8
"""Characters below which a line of a longer secret (a PEM key) is not masked: it may be harmless text."""
_LINE_END = re.compile(r"[\r\n]|\\r|\\n")
_SECRET_KEY = re.compile(
    r"(pass(word|wd|phrase)?|secret|token|credential|private|auth|cookie|salt|signature|webhook"
    r"|licen[sc]e|api_?key|access_?key|_key$|^key$|_pwd$|^pwd$)",
    re.IGNORECASE,
)
# A scheme is short: without a limit, a long word in the output would be scanned from each of its letters.
_URL_PASSWORD = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]{0,30}://)(?P<user>[^\s:/@?#]*):(?P<password>[^\s/]+)@", re.IGNORECASE
)
_QUERY_SECRET = re.compile(
    r"(?P<name>[?&][\w.-]{0,40}(?:token|secret|passw|pwd|api_?key|access_?key|licen[cs]e_?key|signature|credential)"
    r"(?P<rest>[\w.-]{0,40})=)(?P<secret>[^\s&#\"'<>]+)",
    re.IGNORECASE,
)
_SECRET_END = re.compile(r"(or[dt]|d|s|[_-]?key)?[_-]?\d*", re.IGNORECASE)
"""What may follow the secret word of a query's key that surely names a secret: `password`, `tokens`, `token2`."""
LONG_SECRET = 12
"""Characters from which a query's value counts as a secret although its key (`tokenType`) may mean something else."""


def is_secret(key: str, declared: Collection[str] = ()) -> bool:
    """Return whether environment variable `key` is secret: declared in band.yml, or by its name."""
    return key in declared or bool(_SECRET_KEY.search(key))


def mask_url(text: str) -> str:
    """Replace passwords inside URLs such as `redis://:pw@redis:6379` and `https://db/?password=pw`."""
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\g<scheme>\g<user>:{MASK}@", text)
    return _QUERY_SECRET.sub(rf"\g<name>{MASK}", text) if "=" in text else text


def mask_env(env: Mapping[str, str], declared: Collection[str] = ()) -> dict[str, str]:
    """Return `env` fit to be shown."""
    return {key: MASK if value and is_secret(key, declared) else mask_url(value) for key, value in env.items()}


def mask_tree(value: Any, declared: Collection[str] = (), key: str = "") -> Any:
    """Return a JSON-like value with the values under secret keys masked, at any depth."""
    if isinstance(value, Mapping):
        return {k: mask_tree(v, declared, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [mask_tree(item, declared, key) for item in value]
    if key and value not in ("", None) and is_secret(key, declared):
        return MASK
    return mask_url(value) if isinstance(value, str) else value


def secret_values(env: Mapping[str, str], declared: Collection[str] = ()) -> tuple[str, ...]:
    """Return the values of `env` that must not appear in a text, longest first, without very short ones.

    Each is included as is, and as written in JSON, in JSON within JSON, in Python's `repr` or in a URL; of one with
    several lines each line too, because logs are masked line by line.
    """
    found = {value for key, value in env.items() if len(value) >= SHORTEST and is_secret(key, declared)}
    found |= {line for value in found for line in _lines(value)}
    for value in env.values():
        found |= {match["password"] for match in _URL_PASSWORD.finditer(value)}
        found |= {match["secret"] for match in _QUERY_SECRET.finditer(value) if _is_query_secret(match)}
    return tuple(sorted({form for value in found for form in _forms(value)}, key=len, reverse=True))


def _forms(value: str) -> Iterator[str]:
    yield from (value, repr(value)[1:-1], quote(value, safe=""))
    for once in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        yield from (once[1:-1], json.dumps(once)[3:-3], json.dumps(once, ensure_ascii=False)[3:-3])


def _is_query_secret(match: re.Match[str]) -> bool:
    return len(match["secret"]) >= (SHORTEST if _SECRET_END.fullmatch(match["rest"]) else LONG_SECRET)


def _lines(value: str) -> list[str]:
    lines = [line.strip() for line in _LINE_END.split(value)]
    return [line for line in lines if len(line) >= SHORTEST_LINE]


def scrub_tree(value: Any, secrets: Collection[str]) -> Any:
    """Return a JSON-like value with every secret replaced, in keys and values at any depth."""
    if not secrets:
        return value
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, Mapping):
        return {scrub_tree(key, secrets): scrub_tree(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub_tree(item, secrets) for item in value]
    return value


def scrub_struct(value: S, secrets: Collection[str]) -> S:
    """Return a Struct with every secret replaced, at any depth."""
    return msgspec.convert(scrub_tree(msgspec.to_builtins(value), secrets), type(value)) if secrets else value


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Replace every secret that occurs in `text` (a log line, an error message)."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return mask_url(text)


def leaves(value: Any, deepest: int) -> Iterator[Any]:
    """Yield the keys and plain values of a JSON-like value, level by level; raises RecursionError below `deepest`."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > deepest:
            raise RecursionError(f"has more than {deepest} levels")
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                below += item
            else:
                yield item
        level = below
