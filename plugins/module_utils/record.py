"""Records of a host, in files of JSON: the packages that we installed, the services that an inventory names."""

from __future__ import annotations

import json
import os

INVENTORY, DEMO = "inventory", "demo"
"""Who named a service; one that somebody runs by hand is not on record."""


def read(path: str, kind: str) -> dict[str, str]:
    """Return what is on record, of a kind (`packages`, `services`); empty without the file."""
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file)[kind])
    except FileNotFoundError:
        return {}


def write(path: str, kind: str, named: dict[str, str]) -> None:
    """Replace the record where it differs; its folder has to be there."""
    if not path or named == read(path, kind):
        return
    with open(path + ".new", "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        json.dump({kind: dict(sorted(named.items()))}, file, indent=1)
    os.replace(path + ".new", path)
