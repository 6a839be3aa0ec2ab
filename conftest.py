"""For every test of the tree: where the test data is, and what to leave out where a part of it may not be shipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
SHARED = ROOT.parent / "shared" / "data"
os.environ.setdefault("BAND_TEST_DATA", str(SHARED if SHARED.is_dir() else ROOT / "tests" / "data"))
CORPUS = Path(os.environ["BAND_TEST_DATA"]) / "ua-corpus" / "ua_10k.txt"


def pytest_report_header() -> str:
    """Say which test data is used."""
    left_out = (
        "" if CORPUS.is_file() else "; without ua-corpus/ua_10k.txt (its licences are mixed): `corpus` tests left out"
    )
    return f"test data: {os.environ['BAND_TEST_DATA']}{left_out}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of the User-Agent corpus where it is not there."""
    if CORPUS.is_file():
        return
    left_out = [item for item in items if item.get_closest_marker("corpus")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
