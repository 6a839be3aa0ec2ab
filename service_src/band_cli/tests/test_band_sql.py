"""`band sql` against a real store beside a director."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

IMAGE = Path(__file__).parents[3] / "band_images" / "store"


@pytest.fixture(scope="module", autouse=True)
def store(redis_dsn: str, director: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run the store without events until the director knows it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = {
        "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOST": "127.0.0.1", "PORT": str(port),
        "REDIS_DSN": redis_dsn, "FOLDER": str(tmp_path_factory.mktemp("store")),
    }  # fmt: skip
    command = [sys.executable, "-m", "store"]
    with subprocess.Popen(command, cwd=IMAGE, env=env, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while director.post("/call/store/query_events", {"sql": "SELECT 1"})[0] != 200:
            assert time.monotonic() < deadline, "the store does not answer through the director"
            time.sleep(0.2)
        yield
        process.terminate()


def test_rows_are_a_table(here: Any) -> None:
    ran = here("sql", "SELECT 'page' AS name, 12 AS views UNION ALL SELECT 'order', 3 ORDER BY views DESC")
    assert ran.code == 0, ran.err
    assert [line.split() for line in ran.out.splitlines()] == [["NAME", "VIEWS"], ["page", "12"], ["order", "3"]]


def test_rows_are_csv_and_json(here: Any) -> None:
    query = """SELECT 'a "b", c' AS text, NULL AS nothing, [1, 2] AS list"""
    assert here("sql", query, "--csv").out == 'text,nothing,list\n"a ""b"", c",,"[1, 2]"\n'
    answer = json.loads(here("sql", query, "--json").out)
    assert answer["rows"] == [['a "b", c', None, [1, 2]]]
    both = here("sql", query, "--csv", "--json")
    assert (both.code, "exclude each other" in both.err) == (2, True)


def test_more_rows_than_an_answer_may_have_are_told(here: Any) -> None:
    ran = here("sql", "SELECT * FROM range(20000)", "--csv")
    assert len(ran.out.splitlines()) == 10_001
    assert "There are more rows than these 10000" in ran.err


def test_what_is_no_select_is_refused(here: Any) -> None:
    ran = here("sql", "DROP VIEW events")
    assert ran.code == 1
    assert "only SELECT is possible" in ran.err


def test_without_a_store_the_command_says_how_to_start_one(here: Any) -> None:
    ran = here("sql", "--service", "nobody", "SELECT 1")
    assert ran.code == 1
    assert "nobody" in ran.err
