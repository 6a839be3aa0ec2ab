"""Removes secrets from text: known values, and everything that looks like a secret."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
# Shorter ones would remove harmless words.
SHORTEST = 6
# The same of one line of a secret of several.
SHORTEST_LINE = 8
# The director's rule for what it masks (a test compares the two), and a few more.
DIRECTORS_RULE = (
    r"(pass(word|wd|phrase)?|secret|token|credential|private|auth|cookie|salt|signature|webhook"
    r"|licen[sc]e|api_?key|access_?key|_key$|^key$|_pwd$|^pwd$)"
)
SECRET_NAME = re.compile(rf"(?i)({DIRECTORS_RULE}|_dsn$|^dsn$)")
# Only these variables of a service are shown: the names of other secrets cannot be known.
HARMLESS_ENV = frozenset(
    (
        *("BAND_CONTAINER", "BAND_SERVICE", "HOST", "HTTP_PREFIX", "JOURNAL_DIR", "JSON_LOGS", "LOG_LEVEL", "NAME"),
        *("HOME", "LANG", "LC_ALL", "PATH", "PORT", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "TZ"),
        *("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
    )
)
# A name and a URL each begin in one place: tried from each letter, a line would take the square of its length.
_ASSIGNED = re.compile(
    r"""(?ix)
    (?<![\w.-])
    (?= [\w.-]*
      (?:token|secret|password|passwd|passphrase|pass(?![a-z])|_pwd|api_?key|licen[cs]e_?key|private_?key|credential) )
    (?P<name> [\w.-]+ )
    (?P<between> ["']? \s* [:=] \s* ["']? )
    (?P<value> [^\s"',;&}{\]\[]+ )
    """
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}")
_IN_URL = re.compile(r"(?P<who>://[^\s/@:]*):(?P<word>[^\s/@]+)@")
# Tokens that are known by their form: of Telegram's bots, GitHub, Slack (and its webhooks), AWS.
_TOKENS = re.compile(
    r"""(?x)
    \b \d{8,10} : [\w-]{35} \b
    | \b gh[oprsu]_ [A-Za-z0-9]{30,} | \b github_pat_ \w{20,}
    | \b xox[abeoprs] (?:\.xox[bp])? - [\w-]{10,} | \b xapp- [\w-]{10,}
    | (?<=hooks\.slack\.com/) [\w/-]{10,}
    | \b A(?:KIA|SIA) [A-Z0-9]{16} \b
    """
)


class Redactor:
    """Knows secrets by value; `text` and `value` return what may be shown."""

    def __init__(self, secrets: list[str]) -> None:
        long_enough = {secret.strip() for secret in secrets if len(secret.strip()) >= SHORTEST}
        # The longest first, for one secret may be the beginning of another.
        self._known = sorted(long_enough, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in self._known:
            text = text.replace(secret, MASK)
        text = _IN_URL.sub(rf"\g<who>:{MASK}@", text)
        text = _BEARER.sub(rf"\1 {MASK}", text)
        text = _TOKENS.sub(MASK, text)
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


def secrets_in_environment(lines: list[str], declared: frozenset[str] = frozenset()) -> list[str]:
    """Return the secret values of an environment (`NAME=value` lines): by name, declared in band.yml, within a URL.

    Each is included as is, and as written in JSON or in a URL; of one with several lines each line too.
    """
    found: list[str] = []
    for line in lines:
        name, _sign, value = line.partition("=")
        by_name = bool(SECRET_NAME.search(name)) and not name.endswith("_FILE")
        found += [value] if by_name or name in declared else []
        found += [match["word"] for match in _IN_URL.finditer(value)]
    forms = (form for value in found for part in (value, *_lines(value)) for form in _forms(part))
    return list(dict.fromkeys(forms))


def _lines(value: str) -> list[str]:
    """Return the lines of a secret, which a variable often separates with a literal `\\n`."""
    lines = value.replace("\\r", "\n").replace("\\n", "\n").splitlines()
    return [line for line in lines if len(line.strip()) >= SHORTEST_LINE]


def _forms(value: str) -> tuple[str, ...]:
    return value, json.dumps(value)[1:-1], quote(value, safe=""), quote_plus(value)


def declared_secrets(labels: dict[str, str]) -> frozenset[str]:
    """Return the names in `secrets` of a service's band.yml, from its container's labels."""
    try:
        return frozenset(map(str, json.loads(labels.get("band.spec") or "{}").get("secrets") or ()))
    except (ValueError, AttributeError, TypeError):
        return frozenset()


def shown_environment(lines: list[str], declared: frozenset[str] = frozenset()) -> list[str]:
    """Return a service's environment with the harmless values only; the names stay."""
    pairs = [line.partition("=") for line in lines]
    return [f"{name}={_shown(name, value, declared)}" for name, _sign, value in pairs]


def without_environments(value: Any) -> Any:
    """Return settings of an inventory with every `env` as `shown_environment` shows it."""
    if isinstance(value, list):
        return [without_environments(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {key: _hidden(inner) if _is_env(key, inner) else without_environments(inner) for key, inner in value.items()}


def _is_env(key: Any, value: Any) -> bool:
    return isinstance(value, dict) and (str(key) == "env" or str(key).endswith("_env"))


def _hidden(env: dict[str, Any]) -> dict[str, Any]:
    return {name: _shown(str(name), value) for name, value in env.items()}


def _shown(name: str, value: Any, declared: frozenset[str] = frozenset()) -> Any:
    return value if value in ("", None) or (name in HARMLESS_ENV and name not in declared) else MASK
