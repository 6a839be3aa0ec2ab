"""Where the data of the tests lies, and settings as a service would read them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from band.config import Settings

_DEFAULT = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture(scope="session")
def mmdb() -> Path:
    """The folder maxmind-db of the test data: in BAND_TEST_DATA, else in shared/data beside the repository."""
    folder = Path(os.environ.get("BAND_TEST_DATA") or _DEFAULT) / "maxmind-db"
    if not folder.is_dir():
        pytest.fail(f"no test data in {folder.parent}: set BAND_TEST_DATA to the folder that has maxmind-db/test-data")
    return folder


@pytest.fixture
def settings_of() -> Callable[..., Settings]:
    """Return a function that makes settings of its keyword arguments."""
    return lambda **values: Settings(values)
