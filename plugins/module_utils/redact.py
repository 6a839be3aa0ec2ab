"""Takes secrets out of texts: those that are known by value, and whatever looks like one."""

from __future__ import annotations

import re
from typing import Any

MASK = "[redacted]"
# Shorter ones would take harmless words out of every line.
SHORTEST = 6
SECRET_NAME = re.compile(
    r"(?i)(token|secret|passw|passphrase|api_?key|licen[cs]e_?key|private_?key|credential|authorization|cookie|_dsn$|^dsn$)"
)
_ASSIGNED = re.compile(
    r"""(?ix)
    (?P<name> [\w.-]*
      (?:token|secret|password|passwd|passphrase|api_?key|licen[cs]e_?key|private_?key|credential)
      [\w.-]* )
    (?P<between> ["']? \s* [:=] \s* ["']? )
    (?P<value> [^\s"',;&}{\]\[]+ )
    """
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}")
_IN_URL = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<who>[^\s/@:]*):(?P<word>[^\s/@]+)@")
_TELEGRAM = re.compile(r"\b\d{8,10}:[\w-]{35}\b")


class Redactor:
    """Knows secrets by value; `text` and `value` return what may be shown."""

    def __init__(self, secrets: list[str]) -> None:
        long_enough = {secret.strip() for secret in secrets if len(secret.strip()) >= SHORTEST}
        # The longest first, for one secret may be the beginning of another.
        self._known = sorted(long_enough, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._known:
            text = text.replace(secret, MASK)
        text = _IN_URL.sub(rf"\g<scheme>\g<who>:{MASK}@", text)
        text = _BEARER.sub(rf"\1 {MASK}", text)
        text = _TELEGRAM.sub(MASK, text)
        return _ASSIGNED.sub(_masked_assignment, text)

    def value(self, value: Any, name: str = "") -> Any:
        """A value of JSON without secrets: by the names of its keys, of environment variables in lists, and by text."""
        if isinstance(value, dict):
            return {key: self.value(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner, name) for inner in value]
        if isinstance(value, str):
            key, sign, _rest = value.partition("=")
            if sign and SECRET_NAME.search(key) and not key.endswith("_FILE"):
                return f"{key}={MASK}"
            return MASK if value and SECRET_NAME.search(name) and not name.endswith("_FILE") else self.text(value)
        return value


def _masked_assignment(found: re.Match[str]) -> str:
    # The path of a file that holds a secret is none.
    if found["name"].upper().endswith("_FILE") or found["value"].startswith(("/", MASK)):
        return found[0]
    return f"{found['name']}{found['between']}{MASK}"


def secrets_in_environment(lines: list[str]) -> list[str]:
    """The values of an environment (`NAME=value` lines) whose names say that they are secret."""
    pairs = [line.partition("=") for line in lines]
    return [value for name, _sign, value in pairs if SECRET_NAME.search(name) and not name.endswith("_FILE")]
