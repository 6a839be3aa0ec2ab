#!/usr/bin/env python3
"""Write docs/variables.md from the roles' argument specifications; with --check, compare it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "variables.md"
FIRST = ["settings", "docker", "base_image", "redis", "director", "services", "verify"]
HEAD = """# Ansible variables

Set them in an inventory, in `group_vars`, or with `-e`. A variable that begins with `band_` and is not listed here is refused before anything is changed; the message suggests the nearest name.

Generated from `roles/*/meta/argument_specs.yml` by `docs/tools/variables.py`; a test compares the two.
"""


def cell(value: Any) -> str:
    """Return a value as a cell of a table."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value in ("", [], {}, None):
        return {"": '`""`', "[]": "`[]`", "{}": "`{}`", "None": ""}[str(value)]
    if isinstance(value, list):
        names = [str(row["name"]) if isinstance(row, dict) and "name" in row else str(row) for row in value]
        return f"`[{', '.join(names)}]`"
    return f"`{str(value).replace('|', chr(92) + '|')}`"


def text(value: Any) -> str:
    """Return a description as one line."""
    lines = value if isinstance(value, list) else [value]
    joined = " ".join(" ".join(str(line).split()) for line in lines)
    for mark in ("C", "V", "O", "I"):
        while f"{mark}(" in joined:
            head, rest = joined.split(f"{mark}(", 1)
            inner, tail = rest.split(")", 1)
            joined = f"{head}`{inner}`{tail}"
    return joined.replace("|", "\\|")


def rows(options: dict[str, Any], prefix: str = "") -> list[str]:
    """Return a row for each option and suboption."""
    lines = []
    for name, option in options.items():
        kind = option["type"] + (f" of {option['elements']}" if "elements" in option else "")
        choices = f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}." if "choices" in option else ""
        default = "*(required)*" if option.get("required") else cell(option.get("default"))
        lines.append(f"| `{prefix}{name}` | {kind} | {default} | {text(option['description'])}{choices} |")
        lines += rows(option.get("options") or {}, f"{prefix}{name}.")
    return lines


def page() -> str:
    """Return the whole page."""
    roles = sorted(path.parents[1].name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
    parts = [HEAD]
    for role in [*FIRST, *(name for name in roles if name not in FIRST)]:
        specs = yaml.safe_load((ROOT / "roles" / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
        entries = specs["argument_specs"]
        for name, entry in entries.items() if "main" not in entries else [(role, entries["main"])]:
            table = [
                "| variable | type | default | meaning |",
                "|---|---|---|---|",
                *rows(entry.get("options") or {}),
            ]
            title = f"## {name}: {entry['short_description']}"
            parts.append("\n".join([title, "", *table, ""]))
    return "\n".join(parts)


def main() -> int:
    """Write the page, or compare it; return the exit code."""
    wanted = page()
    if "--check" in sys.argv:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == wanted:
            return 0
        print("docs/variables.md does not match the roles: run docs/tools/variables.py", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
