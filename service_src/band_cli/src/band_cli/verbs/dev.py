"""Passes the verbs of authors to the framework's own command, if the framework is installed."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from band_cli.errors import BadInput


def dev(words: Sequence[str]) -> int:
    """Run `python -m band` with these words; return its exit code.

    Raises:
        BadInput: the framework is not there.
    """
    if find_spec("band") is None:
        raise BadInput(
            "band dev is for service authors and needs the framework, which is not installed here",
            "in a virtual environment, from a clone: pip install ./service_src/band ./service_src/band_cli",
        )
    sys.argv = ["band dev", *words]
    try:
        runpy.run_module("band", run_name="__main__", alter_sys=False)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0
