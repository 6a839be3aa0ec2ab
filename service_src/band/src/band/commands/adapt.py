"""``band dev requirements``: convert a 2018 requirements.txt to versions that work with band."""

from __future__ import annotations

import sys
from pathlib import Path

from band.compat.requirements import adapt, explain


def run_requirements(file: Path, *, write: bool) -> int:
    """Print (or write) ``file`` so that it installs today; changes go to standard error; 1: a line is refused."""
    try:
        adapted = adapt(file.read_text(encoding="utf-8"))
        if write:
            file.write_text(adapted.text, encoding="utf-8")
        else:
            sys.stdout.write(adapted.text)
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{file} cannot be read or written: {error}\n")
        return 1
    for sentence in explain(adapted, str(file)):
        sys.stderr.write(sentence + "\n")
    return 1 if adapted.refused else 0
