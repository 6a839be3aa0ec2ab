"""What the tests of `band` share: the director of the director's own tests, whose engine exists in memory only."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from band_cli.cli import main

_PATH = Path(__file__).resolve().parents[2] / "director" / "tests" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("director_conftest", _PATH)
assert _SPEC
assert _SPEC.loader
_director = importlib.util.module_from_spec(_SPEC)
sys.modules["director_conftest"] = _director
_SPEC.loader.exec_module(_director)

redis_dsn = _director.redis_dsn


@dataclass
class Ran:
    """What a command left: exit code, standard output and error."""

    code: int
    out: str
    err: str


Band = Callable[..., Ran]


@pytest.fixture
def band(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Band:
    """Run the command without any configuration of whoever runs the tests."""
    for name in (
        "BAND_HOST",
        "BAND_TOKEN",
        "BAND_TOKEN_FILE",
        "BAND_CA_FILE",
        "BAND_CONFIG",
        "BAND_HOST_CONFIG",
        "COLUMNS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))

    def run(*words: str) -> Ran:
        capsys.readouterr()
        code = main(words)
        found = capsys.readouterr()
        return Ran(code, found.out, found.err)

    return run


@pytest.fixture(scope="module")
def director(redis_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A director of this module's own, with three services that run."""
    found = _director.FakeDirector(redis_dsn, tmp_path_factory.mktemp("director"), FAKE_SERVICES="3")
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def closed(redis_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A director that wants a token."""
    env = {"BAND_TOKEN": "canary-token-5d1f9a", "BAND_NAMESPACE": "t-closed", "FAKE_PAUSE": "0.001"}
    found = _director.FakeDirector(redis_dsn, tmp_path_factory.mktemp("closed"), **env)
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture
def here(band: Band, director: Any, monkeypatch: pytest.MonkeyPatch) -> Band:
    """The command, with the director's address in the environment."""
    monkeypatch.setenv("BAND_HOST", director.url)
    return band
