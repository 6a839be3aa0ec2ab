"""The answer of `/trace/<id>` as a time line that reads from top to bottom. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def timeline(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template shows."""
    return {"title": "", "steps": []}
