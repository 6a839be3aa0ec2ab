"""The stage of all security tests: real containers with their default limits, set up once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "chaos")]

from chaos_stage import Stage  # noqa: E402 - it stands in the folder of the chaos run


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The platform."""
    found = Stage(tmp_path_factory.mktemp("security"))
    try:
        found.up()
        yield found
    finally:
        found.down()
