"""Structured logs: one event name and its values per line, JSON with ``JSON_LOGS``, secrets masked."""

from __future__ import annotations

import functools
import json
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

MASK = "***"
_SECRET_KEY = re.compile(r"token|secret|passw|api_?key|licen[cs]e_?key|authorization|credential|cookie", re.IGNORECASE)
_SECRET_IN_URL = re.compile(r"(?<=://)([^/@\s:]*):([^@\s]+)@")
_SECRET_IN_QUERY = re.compile(
    r"([?&](?:[\w.-]*(?:token|secret|passw|api_?key|licen[cs]e_?key|signature)[\w.-]*)=)[^&\s\"'#]+", re.IGNORECASE
)
_LINE_END = re.compile(r"[\r\n]|\\r|\\n")
_BOT_TOKEN = re.compile(r"(?<=bot)\d{6,}:[\w-]{30,}")

logger: structlog.stdlib.BoundLogger = structlog.get_logger("band")


def is_secret_name(name: str) -> bool:
    """Return whether a value of that name is masked in logs and output (``MIXPANEL_TOKEN``, ``redis_password`` …)."""
    return bool(_SECRET_KEY.search(name))


def mask_text(text: str) -> str:
    """Return ``text`` with passwords and tokens of the URLs in it masked, and every known secret's value."""
    if "@" in text:
        text = _SECRET_IN_URL.sub(rf"\1:{MASK}@", text)
    if "=" in text:
        text = _SECRET_IN_QUERY.sub(rf"\1{MASK}", text)
    if "bot" in text:
        text = _BOT_TOKEN.sub(MASK, text)
    return _known.sub(MASK, text) if _known is not None else text


_known: re.Pattern[str] | None = None
_of_environment: frozenset[str] = frozenset()
_of_settings: set[str] = set()
MASKED_VARIABLE = "BAND_MASKED"
SHORTEST_SECRET = 8
"""Characters from which the value of a secret variable is masked everywhere; shorter ones are often words."""


def know_secrets(env: Mapping[str, str]) -> None:
    """Mask, from now on and everywhere, the values of those variables of ``env`` whose names say they are secret.

    ``BAND_MASKED`` lists further names, separated by commas: what `secrets:` of the image's band.yml declares.
    """
    global _of_environment
    declared = env.get(MASKED_VARIABLE, "").split(",")
    values = {value for name, value in env.items() if is_secret_name(name) or name in declared}
    # What begins with / is the path of a file that holds the secret.
    _of_environment = frozenset(value for value in values if not value.startswith("/"))
    _mask_known()


def know_secret(value: str) -> None:
    """Mask the value of a secret setting, from now on and everywhere."""
    _of_settings.add(value)
    _mask_known()


def _mask_known() -> None:
    global _known
    whole = _of_environment | _of_settings
    # Each line of a longer secret (a PEM key) too: in JSON and in tracebacks its line ends look different.
    lines = {line.strip() for value in whole for line in _LINE_END.split(value)}
    # As JSON and as Python's repr write it, where it has quotes or backslashes.
    values = {form for value in whole | lines if len(value) >= SHORTEST_SECRET for form in _forms(value)}
    longest_first = sorted(map(re.escape, values), key=len, reverse=True)
    _known = re.compile("|".join(longest_first)) if longest_first else None


def _forms(value: str) -> tuple[str, ...]:
    return value, repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]


def mask(value: Any, name: str = "") -> Any:
    """Return a copy of any value in which secrets are masked, by the names of mapping keys and inside URLs."""
    if name and value and is_secret_name(name):
        return MASK
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, Mapping):
        return {key: mask(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item) for item in value]
    return value


def _mask_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = mask(value, key)
    return event


def writable(text: str) -> str:
    """Return a text with half surrogate pairs escaped: neither standard output nor Redis takes them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _make_writable(_logger: Any, _method: str, line: Any) -> str:
    return writable(line)  # a log call must not raise


def _interpolate(event: Any, args: tuple[Any, ...]) -> tuple[Any, list[Any]]:
    """Return the event with ``args`` interpolated, or unchanged with the arguments as extras."""
    if isinstance(event, str) and "%" in event:
        try:
            return event % args, []
        except (TypeError, ValueError):
            pass  # "100% done": a percent sign without a format
    return event, list(args)


def _logger_class(level: int) -> type[Any]:
    """Return structlog's fast filtering logger, which here also takes positional extras: ``logger.info("got", value)``.

    Services of the original platform log that way; structlog alone would only interpolate them into a ``%`` text.
    """
    base: Any = structlog.make_filtering_bound_logger(level)

    def wrap(method: Any) -> Any:
        @functools.wraps(method)
        def log(self: Any, event: Any = "", *args: Any, **values: Any) -> Any:
            if args:
                event, extra = _interpolate(event, args)
                if extra:
                    values["extra"] = extra
            return method(self, event, **values)

        return log

    methods = ("debug", "info", "warning", "warn", "error", "critical", "fatal", "exception")
    return type("BandLogger", (base,), {name: wrap(getattr(base, name)) for name in methods})


def configure_logs(level: str = "INFO", *, as_json: bool = False) -> None:
    """Set up structlog for the whole process, on standard output.

    Args:
        level: a level name of the standard library, any case; an unknown one falls back to INFO.
        as_json: one JSON object a line instead of text for people.
    """
    number = logging.getLevelNamesMapping().get(level.strip().upper(), logging.INFO)
    renderer: Any
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _mask_event,
    ]
    if as_json:
        renderer = structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    structlog.configure(
        processors=[*processors, renderer, _make_writable],
        wrapper_class=_logger_class(number),
        # An entry and its newline in one write: the processes of a service share its output, and print() takes two.
        logger_factory=structlog.WriteLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=max(number, logging.WARNING), stream=sys.stdout, format="%(levelname)s %(name)s %(message)s"
    )


def ensure_logs() -> None:
    """Set up structlog from the environment unless that was done before."""
    if not structlog.is_configured():
        from band.config import YES, environ

        know_secrets(environ)
        as_json = environ.get("JSON_LOGS", "").strip().lower() in YES
        configure_logs(environ.get("LOG_LEVEL") or "INFO", as_json=as_json)
