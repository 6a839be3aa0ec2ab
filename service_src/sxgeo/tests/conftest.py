"""Where the data of the tests lies, and an opened copy of a file's bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from band.config import Settings
from sxgeo.reader import SypexReader, open_sypex

_DEFAULT = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of test data: BAND_TEST_DATA, else shared/data beside the repository."""
    folder = Path(os.environ.get("BAND_TEST_DATA") or _DEFAULT)
    if not (folder / "sypex").is_dir():
        pytest.fail(f"no test data in {folder}: set BAND_TEST_DATA to the folder that has sypex/synthetic_city.dat")
    return folder


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[bytes], SypexReader]:
    """Return a function that writes bytes to a file and opens it."""

    def write_and_open(data: bytes) -> SypexReader:
        path = tmp_path / "SxGeo.dat"
        path.write_bytes(data)
        return open_sypex(path).value

    return write_and_open


@pytest.fixture
def settings_of() -> Callable[..., Settings]:
    """Return a function that makes settings of its keyword arguments."""
    return lambda **values: Settings(values)
