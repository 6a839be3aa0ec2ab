"""The file that lists the services named by an inventory on this host, without those run by hand."""

from __future__ import annotations

import json
import os

INVENTORY, DEMO = "inventory", "demo"


def read(path: str) -> dict[str, str]:
    """Return by whom each service was named: `inventory` or `demo`; empty without the file."""
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file)["services"])
    except FileNotFoundError:
        return {}


def write(path: str, named: dict[str, str]) -> None:
    """Replace the file where it differs; the folder has to be there."""
    if not path or named == read(path):
        return
    with open(path + ".new", "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        json.dump({"services": dict(sorted(named.items()))}, file, indent=1)
    os.replace(path + ".new", path)
