"""The helpers of this folder are imported by their names; a director and a Docker client for the modules."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def director() -> Iterator[Any]:
    """A director and a front at one address."""
    from fake_director_api import FakeDirector

    one = FakeDirector()
    yield one
    one.close()


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """A folder with a docker client whose engine is a file in it."""
    shutil.copy(Path(__file__).with_name("fake_docker.py"), tmp_path / "docker")
    (tmp_path / "docker").chmod(0o755)
    return tmp_path
