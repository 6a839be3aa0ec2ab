"""Exceptions in one line: type, text, and the file and line in the service's own code."""

from __future__ import annotations

import functools
import sysconfig
from pathlib import Path, PurePath
from typing import Final

from band.telemetry.logs import mask_text

MAX_TEXT: Final = 500


@functools.cache
def _not_the_authors() -> tuple[str, ...]:
    """Return the folders of band, of installed packages and of the standard library."""
    packages = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return *(f"{folder}/" for folder in (Path(__file__).parents[1], *packages)), "<"


def raised_at(error: BaseException) -> str:
    """Return ``folder/file.py:line`` of the innermost frame of the service's own code; empty without a traceback.

    Frames of band, of installed packages and of the standard library count only when there are no others.
    """
    innermost = own = ""
    step = error.__traceback__
    while step is not None:
        path = step.tb_frame.f_code.co_filename
        innermost = f"{'/'.join(PurePath(path).parts[-2:])}:{step.tb_lineno}"
        if not path.startswith(_not_the_authors()):
            own = innermost
        step = step.tb_next
    return own or innermost


def describe_raised(error: BaseException) -> str:
    """Return ``Type: text (folder/file.py:line)``, with secrets masked; for logs and health, never for clients."""
    text = mask_text(str(error))[:MAX_TEXT]
    words = f"{type(error).__name__}: {text}" if text else type(error).__name__
    place = raised_at(error)
    return f"{words} ({place})" if place else words
