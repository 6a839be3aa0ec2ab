"""Modules that services of the original platform import and that no longer work, or behave differently, today.

``aioredis`` 1.x cannot run on Python 3.12, today's ``prodict`` raises where the original's services expect None, and
today's ``jsonrpcclient`` has no ``ReceivedErrorResponse``. Small ones of our own stand in this folder: found where none
is installed, and before what is installed in an environment that has ``rockstat-band[compat]``, as the base image does.
``docs/compatibility.md`` says which and why.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Final

NAMES: Final = frozenset({"aioredis", "jsonrpcclient", "prodict"})
_FOLDER: Final = str(Path(__file__).parent)


class Finder:
    """Finds the modules of this folder under their own top-level names."""

    @classmethod
    def find_spec(
        cls, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the module is, None for every other name."""
        return PathFinder.find_spec(name, [_FOLDER], target) if path is None and name in NAMES else None


def install() -> None:
    """Have these modules found from now on, before what is installed under their names."""
    if Finder in sys.meta_path:
        sys.meta_path.remove(Finder)
    sys.meta_path.insert(0, Finder)


def offer() -> None:
    """Have these modules found where none of their names is installed."""
    if Finder not in sys.meta_path:
        sys.meta_path.append(Finder)
