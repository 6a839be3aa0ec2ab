"""The front and the Redis of front's own tests, for tests in a browser."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_found = importlib.util.spec_from_file_location(
    "front_stage_of_browsers", Path(__file__).resolve().parents[2] / "service_src/front/tests/conftest.py"
)
stage = importlib.util.module_from_spec(_found)
_found.loader.exec_module(stage)
