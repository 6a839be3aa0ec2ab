"""Settings of a service: ``config.yaml`` through Jinja2, over the environment with ``.env.local`` and ``.env``.

Order, later wins: ``config.yml``, ``config.yaml``, then ``custom.yml``, ``custom.yaml``, then the section named after
the variable ``ENV`` (``development`` unless set). Variables of the real environment win over ``.env.local``, which wins
over ``.env``.
"""

from __future__ import annotations

import os
import re
import socket
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values
from jinja2 import Environment, TemplateSyntaxError

from band.errors import SettingsError

CONFIG_FILES = ("config.yml", "config.yaml", "custom.yml", "custom.yaml")
ENV_FILES = (".env.local", ".env")


class Settings(dict[str, Any]):
    """A mapping whose keys are also attributes; a missing attribute is None, at any depth.

    ``settings.redis.port`` raises only if ``redis`` itself is missing. Use ``settings["items"]`` for a key that is also
    the name of a dict method.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        super().__init__({str(key): _wrap(value) for key, value in (values or {}).items()})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy, pickle and inspect probe for these
            raise AttributeError(name)
        return self.get(name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = _wrap(value)


def _wrap(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Settings(value)
    if isinstance(value, list):
        return [_wrap(item) for item in value]
    return value


def read_environ(folder: Path) -> dict[str, str]:
    """Return the environment of this process over the ``.env.local`` and ``.env`` of ``folder``."""
    merged: dict[str, str] = {}
    for name in reversed(ENV_FILES):
        merged.update({key: value for key, value in dotenv_values(folder / name).items() if value is not None})
    merged.update(os.environ)
    return merged


def read_settings(folder: Path, env: Mapping[str, str]) -> Settings:
    """Read the configuration files of ``folder``, each rendered with Jinja2 over ``env``.

    The template has the variables of ``env`` by name (``{{ PORT|default(8080) }}``), and all of them as ``env``.

    Raises:
        SettingsError: a file is not a valid template, not YAML, or not a mapping; the text names file and line.
    """
    merged: dict[str, Any] = {}
    for name in CONFIG_FILES:
        path = folder / name
        if path.is_file():
            merged = _merge(merged, _read_file(path, env))
    return Settings(merged)


def with_defaults(settings: Settings, env: Mapping[str, str]) -> Settings:
    """Return ``settings`` with the original's defaults: the section of its ``ENV``, ``env``, ``name``."""
    name = env.get("ENV") or "development"
    section = settings.get(name)
    merged = Settings(_merge(settings, section)) if isinstance(section, Mapping) else settings
    merged.setdefault("env", name)
    merged["name"] = first(merged.get("name"), env.get("NAME"), socket.gethostname())
    return merged


def _read_file(path: Path, env: Mapping[str, str]) -> dict[str, Any]:
    # Only place and problem: the whole text of an error quotes the line, which may contain a secret. No `from error`
    # either: the cause would be printed too.
    try:
        template = Environment(autoescape=False).from_string(path.read_text(encoding="utf-8"))  # noqa: S701 - YAML, not HTML
        values = yaml.safe_load(template.render(**{**env, "env": env}))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"{path}: cannot be read: {why}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = _unquoted(getattr(error, "problem", None) or "not valid YAML")
        raise SettingsError(f"{path}{where}: {problem}; check the quotes and the indentation there") from None
    except Exception as error:  # noqa: BLE001 - an expression of the template can raise anything
        line = error.lineno if isinstance(error, TemplateSyntaxError) else _template_line(error)
        where = f", line {line}" if line else ""
        raise SettingsError(f"{path}{where}: not a valid template: {_unquoted(str(error))}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected `key: value` lines, found a {type(values).__name__}")
    return values


def _unquoted(text: str) -> str:
    """Return an error's text without its quotes from the file, except single characters and names of tokens."""
    return _QUOTED.sub(lambda found: found[0] if _HARMLESS.fullmatch(found[2]) else "'…'", text)


_QUOTED = re.compile(r"""(['"])([^'"]*)\1""")
_HARMLESS = re.compile(r".?|<[a-z ]+>|end of [a-z ]+")  # a character, a token of YAML, a token of Jinja


def _template_line(error: BaseException) -> int | None:
    """Return the line of the template in which an expression failed."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno for frame in reversed(frames) if frame.filename == "<template>"), None)


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


YES = frozenset({"1", "true", "yes", "on"})
"""Words that mean yes in an environment variable or a setting, in lower case."""
NO = frozenset({"0", "false", "no", "off", ""})
"""Words that mean no."""


def parse_bool(value: Any) -> bool:
    """Return a boolean word as a bool; None is False.

    Raises:
        ValueError: the value is neither.
    """
    word = "" if value is None else str(value).strip().lower()
    if word not in YES | NO:
        raise ValueError("is neither yes nor no; write true or false")
    return word in YES


def first(*values: Any) -> Any:
    """Return the first value that is neither None nor an empty string, else None."""
    return next((value for value in values if value is not None and value != ""), None)


def words(value: str | Iterable[str] | None) -> list[str]:
    """Return a list from a list, or from a string separated by commas or spaces."""
    if value is None:
        return []
    return value.replace(",", " ").split() if isinstance(value, str) else [str(item) for item in value]


environ: dict[str, str]
"""The environment with ``.env.local`` and ``.env`` of the working directory, read once, at first use."""


def __getattr__(name: str) -> dict[str, str]:
    if name != "environ":
        raise AttributeError(f"module 'band.config' has no name {name!r}")
    found = globals()[name] = read_environ(Path.cwd())
    return found
