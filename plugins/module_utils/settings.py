"""Which settings the roles know, and what is wrong with those that were given. Runs on the controller."""

from __future__ import annotations

import difflib
import os
import re
from typing import Any

PREFIX = "band_"
SECRET = re.compile(r"(^|_)(token|password|secret|passphrase)$")
NEAR = 0.6


def known_settings(roles: str, load: Any) -> dict[str, dict[str, Any]]:
    """The options of every entry point of every role, by name. `load` reads YAML text."""
    known: dict[str, dict[str, Any]] = {}
    for role in sorted(os.listdir(roles)):
        path = os.path.join(roles, role, "meta", "argument_specs.yml")
        if not os.path.isfile(path):
            continue
        with open(path, encoding="utf-8") as file:
            entries = load(file.read())["argument_specs"]
        for entry in entries.values():
            known.update(entry.get("options") or {})
    return known


def unknown(given: list[str], known: dict[str, Any], renamed: dict[str, str]) -> list[str]:
    """A sentence for each name with our prefix that no role knows."""
    problems = []
    for name in sorted(given):
        if not name.startswith(PREFIX) or name in known:
            continue
        if name in renamed:
            problems.append(f"{name} is called {renamed[name]} now: rename it in your inventory.")
            continue
        near = difflib.get_close_matches(name, list(known), n=1, cutoff=NEAR)
        hint = f" Did you mean {near[0]}?" if near else " docs/variables.md lists those that are."
        problems.append(f"{name} is no setting of this collection.{hint}")
    return problems


def wrong_kind(name: str, value: Any, option: dict[str, Any], refused_secrets: list[str]) -> str:
    """A sentence when the value is not of its kind; nothing when it is."""
    if option.get("type") == "bool" and not isinstance(value, bool):
        return (
            f"{name} is {value!r}, and has to be true or false, not a string. In YAML write it without quotes; "
            f"on the command line: -e '{{\"{name}\": true}}'."
        )
    choices = option.get("choices")
    if choices and value not in choices:
        return f"{name} is {value!r}, and has to be one of {', '.join(map(str, choices))}."
    if SECRET.search(name) and isinstance(value, str) and value.lower() in refused_secrets:
        return f"{name} is a word that everybody knows. Give it a value of its own, from a vault."
    return ""
