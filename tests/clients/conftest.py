"""What the tests of this folder share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from clients import Platform

collect_ignore_glob = ["*_calls.py"]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    started = Platform(tmp_path_factory.mktemp("platform"))
    yield started
    started.stop()


@pytest.fixture
def own_platform(tmp_path: Path) -> Iterator[Platform]:
    """One whose parts a test may stop."""
    started = Platform(tmp_path)
    yield started
    started.stop()
