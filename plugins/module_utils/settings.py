"""The settings of the roles, and the problems of given ones. Runs on the controller."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from typing import Any

PREFIX = "band_"
SECRET = re.compile(r"(^|_)(token|password|secret|passphrase)$")
SIZE = re.compile(r"[0-9]+([kmg]?b|[kmg])?", re.IGNORECASE)
NEAR = 0.6
# Most names without our prefix belong to the user.
SLIP = 0.8
LARGEST_PORT = 65535


def known_settings(roles: str, load: Any) -> dict[str, dict[str, Any]]:
    """Return the options of every entry point of every role, by name. `load` reads YAML text."""
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
    """Return a sentence for each name with our prefix that no role knows."""
    problems = []
    for name in sorted(given):
        if not name.startswith(PREFIX) or name in known:
            continue
        if name in renamed:
            problems.append(f"{name} is now called {renamed[name]}: rename it in your inventory.")
            continue
        near = difflib.get_close_matches(name, list(known), n=1, cutoff=NEAR)
        hint = f" Did you mean {near[0]}?" if near else " docs/variables.md lists all variables."
        problems.append(f"{name} is not a variable of this collection.{hint}")
    return problems


def slips(given: dict[str, Any], known: dict[str, Any]) -> list[str]:
    """Return a sentence for each name without our prefix that resembles one of ours, which is not set."""
    ours = [name for name in known if not name.startswith(PREFIX)]
    problems = []
    for name in sorted(set(given) - set(known)):
        if name.startswith((PREFIX, "vault_", "ansible_")):
            continue
        near = difflib.get_close_matches(name.lower(), ours, n=1, cutoff=SLIP)
        if near and given.get(near[0], "") == known[near[0]].get("default"):
            problems.append(f"{name} is not a variable of this collection. Did you mean {near[0]}?")
    return problems


def wrong_kind(name: str, value: Any, option: dict[str, Any], refused_secrets: list[str]) -> str:
    """Return a sentence if the value is of another type, else an empty string."""
    kind = option.get("type")
    if kind == "bool" and not isinstance(value, bool):
        return (
            f"{name} is {value!r}, and has to be true or false, not a string. In YAML write it without quotes; "
            f"on the command line: -e '{{\"{name}\": true}}'."
        )
    choices = option.get("choices")
    if choices and value not in choices:
        return f"{name} is {value!r}, and has to be one of {', '.join(map(str, choices))}."
    wanted = _wanted_number(name, value, option.get("default")) if kind == "int" else _wanted_form(name, value, option)
    if wanted and (option.get("elements") == "dict" or "secret" in name):  # the value may have secrets
        return f"{name} has to be {wanted}."
    if wanted:
        return f"{name} is {value!r}, and has to be {wanted}."
    if SECRET.search(name) and isinstance(value, str) and value.lower() in refused_secrets:
        return f"{name} has a well-known value. Set a secret one, and keep it in a vault."
    return ""


def wrong_entries(name: str, value: Any, option: dict[str, Any]) -> list[str]:
    """Return a sentence for each entry of a list of mappings with unknown or missing keys, or choices that are none."""
    options = option.get("options")
    if option.get("elements") != "dict" or not options or not isinstance(value, list):
        return []
    problems = []
    for number, entry in enumerate(value):
        if not isinstance(entry, dict):
            problems.append(f"{name}[{number}] has to be a mapping of {', '.join(options)}.")
            continue
        place = f"{name}[{number}] ({entry['id']})" if "id" in entry else f"{name}[{number}]"
        for key in sorted(set(map(str, entry)) - set(options)):
            near = difflib.get_close_matches(key, list(options), n=1, cutoff=NEAR)
            problems.append(f"{place} has no {key}." + (f" Did you mean {near[0]}?" if near else ""))
        problems += [
            f"{place} needs {key}." for key, one in options.items() if one.get("required") and key not in entry
        ]
        problems += [
            f"{place}: {key} has to be one of {', '.join(options[key]['choices'])}."
            for key, given in entry.items()
            if given not in options.get(key, {}).get("choices", [given])
        ]
    return problems


def _wanted_number(name: str, value: Any, default: Any) -> str:
    """Return what a number must be, or an empty string if it is that."""
    if isinstance(value, bool) or not re.fullmatch(r"-?[0-9]+", str(value)):
        return "a whole number"
    number = int(value)
    if name.endswith("_port") and not (1 <= number <= LARGEST_PORT or number == default == 0):
        return f"a port, 1 to {LARGEST_PORT}{', or 0 for none' if default == 0 else ''}"
    if name.endswith("_timeout") and number < 1:
        return "a number of seconds above 0"
    return ""


def _wanted_form(name: str, value: Any, option: dict[str, Any]) -> str:
    """Return what a string, a list or a mapping must be, or an empty string if it is that."""
    kind = option.get("type")
    # Ansible makes a list of a text with commas.
    if kind == "list" and not isinstance(value, list) and not (isinstance(value, str) and option["elements"] == "str"):
        return "a list"
    if kind == "dict" and not isinstance(value, dict):
        return "a mapping of names to values"
    if name.endswith("memory") and not SIZE.fullmatch(str(value)):
        return "a size such as 512mb or 1gb"
    if name in ("band_listen", "band_director_host_ip") and not _is_address(str(value)):
        return "an IP address of the host"
    return ""


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return text == "localhost"
