"""What it offers."""

import os
from pathlib import Path
from typing import Any

from band import expose

PAGE = Path("/data/page")


@expose()
def write(text: str = "", **_params: Any) -> dict[str, Any]:
    """Keep a text."""
    PAGE.write_text(text)
    return read()


@expose()
def read(**_params: Any) -> dict[str, Any]:
    """Return the text, and whether the secret is the one that was set."""
    return {"text": PAGE.read_text() if PAGE.exists() else "", "secret": len(os.environ.get("LEDGER_SECRET", ""))}


@expose.listener(batch=10, max_attempts=1)
def take(events: list[dict[str, Any]]) -> None:
    """Refuse: the events become dead letters."""
    raise ValueError(f"this service takes nothing, not even {len(events)}")
