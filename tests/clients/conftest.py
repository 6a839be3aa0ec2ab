"""What the tests of this folder share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from chromium import launched
from clients import Platform
from pages import Visitor, site

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


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def shop() -> Iterator[str]:
    """The URL of a web site, which is another than front's."""
    with site() as url:
        yield url


@pytest.fixture
def visitor(chromium: Browser, shop: str) -> Iterator[Visitor]:
    """A visitor of the shop, new to it."""
    found = Visitor(chromium, shop)
    yield found
    found.close()
