"""One SELECT over the events is answered; nothing else is possible, however it is written."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from band.testing import make_event
from store import engine
from store.columns import NAMES
from store.options import Options
from store.warehouse import Warehouse

HOSTILE = [
    "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_blob('/proc/self/environ')",
    "SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "SELECT * FROM read_json('/etc/hosts')",
    "SELECT * FROM glob('/**')", "SELECT * FROM read_parquet('http://127.0.0.1/x')", "FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/etc/passwd')", "COPY (SELECT 1) TO '{folder}/events/x.csv'",
    "COPY events TO '{folder}/work/x'", "EXPORT DATABASE '{folder}/x'", "ATTACH '{folder}/x.duckdb'",
    "CREATE TABLE x AS SELECT 1", "CREATE VIEW x AS SELECT 1", "INSERT INTO events SELECT * FROM events",
    "DELETE FROM events", "UPDATE events SET uid = ''", "DROP VIEW events", "SET memory_limit = '9GB'",
    "SET lock_configuration = false", "PRAGMA database_list", "INSTALL httpfs", "LOAD httpfs", "CHECKPOINT", "VACUUM",
    "SELECT 1; SELECT 2", "SELECT 1; DROP VIEW events", "CALL pragma_version()", "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()", "SELECT current_setting('temp_directory')", "SELECT * FROM enable_logging()",
    "FROM checkpoint('memory')", "FROM force_checkpoint('memory')", "SELECT write_log('x')", "SELECT getenv('PATH')",
    "SELECT * FROM information_schema.tables", "SELECT * FROM main.events", "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM query('SELECT 1')", "SELECT * FROM query_table('events')", "EXPLAIN ANALYZE SELECT 1",
    "SELECT (SELECT count(*) FROM read_text('/etc/passwd'))", "WITH x AS (FROM read_text('/etc/passwd')) FROM x",
    "SELECT 1 WHERE EXISTS (FROM duckdb_tables())", "SELECT * FROM json_execute_serialized_sql('{{}}')",
    "SELECT repeat('x', 2000000000)", "SELECT len(range(300000000))", "SELECT format('{{:>2000000000}}', 'x')",
    "SELECT list(a) FROM range(300000000) t(a)", "PREPARE x AS SELECT 1", "BEGIN", "SELECT", "", "\x00",
    "SELECT '\ud800'",
]  # fmt: skip

UNSORTED = """
WITH many AS (SELECT md5(i::VARCHAR) || repeat('x', 60) AS x FROM range(600000) t(i))
SELECT count(*) FROM (SELECT x, lag(x) OVER (ORDER BY x) AS before FROM many) WHERE before > x
"""
"""Sorts more than fits into the memory of a query; the result is 0."""


@pytest.fixture
async def warehouse(tmp_path: Path) -> AsyncIterator[Warehouse]:
    made = Warehouse(Options(folder=str(tmp_path), query_seconds=5))
    await made.open()
    at = 1795468772451
    await made.load(
        [
            make_event(
                id=str((at + n) << 22), time=at + n, uid=str(n % 3), data={"page": {"url": f"https://a.b/{n % 2}"}}
            )
            for n in range(10)
        ]
    )
    yield made
    await made.close()


async def rows(warehouse: Warehouse, sql: str, most: int = 0) -> list[list[Any]]:
    answer = await warehouse.query(sql, most)
    assert answer.error == ""
    return answer.rows


async def test_a_select_is_answered(warehouse: Warehouse) -> None:
    assert await rows(warehouse, "SELECT count(*), count(DISTINCT uid), min(time) FROM events") == [
        [10, 3, "2026-11-23T21:19:32.451"]
    ]
    assert await rows(warehouse, "WITH p AS (FROM events) SELECT DISTINCT url_path FROM p ORDER BY 1") == [
        ["/0"], ["/1"]
    ]  # fmt: skip
    assert await rows(warehouse, "SELECT data->>'$.page.url' FROM events LIMIT 1;") == [["https://a.b/0"]]
    assert await rows(warehouse, "SELECT a.uid FROM events a JOIN events b USING (id), range(2) WHERE a.uid = '2' LIMIT 1") == [["2"]]  # fmt: skip # noqa: E501


async def test_the_queries_of_the_documentation_run(warehouse: Warehouse) -> None:
    page = (Path(__file__).parents[3] / "docs" / "store.md").read_text(encoding="utf-8")
    queries = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    assert len(queries) == 9
    for sql in queries:
        await rows(warehouse, sql)


def test_the_documentation_has_each_column() -> None:
    page = (Path(__file__).parents[3] / "docs" / "store.md").read_text(encoding="utf-8")
    table = page.partition("## Columns")[2].partition("##")[0]
    assert re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))) == list(NAMES)


async def test_what_came_is_there_at_once(warehouse: Warehouse) -> None:
    await rows(warehouse, "SELECT 1")
    await warehouse.load([make_event(id=str(1795468792451 << 22))])
    assert await rows(warehouse, "SELECT count(*) FROM events") == [[11]]


async def test_hostile_statements_are_refused(warehouse: Warehouse, tmp_path: Path) -> None:
    for statement in HOSTILE:
        answer = await warehouse.query(statement.format(folder=tmp_path), 0)
        assert answer.error, statement
        assert not answer.rows, statement
    assert not list(written(tmp_path))
    assert await rows(warehouse, "SELECT count(*) FROM events") == [[10]]


def written(folder: Path) -> Iterator[Path]:
    """Yield files that no statement may make."""
    return folder.rglob("x*")


async def test_answers_have_limits(warehouse: Warehouse) -> None:
    many = await warehouse.query("SELECT * FROM range(1000000)", 0)
    assert (len(many.rows), many.truncated) == (10_000, True)
    few = await warehouse.query("SELECT * FROM range(100)", 7)
    assert (len(few.rows), few.truncated) == (7, True)
    wide = await warehouse.query("SELECT repeat('x', 100000) FROM range(100)", 0)
    assert wide.truncated
    assert len(wide.rows) == 10


async def test_a_query_spills_where_the_writer_does_not(tmp_path: Path) -> None:
    """Two processes would write their pages into files of the same names, and both crash."""
    made = Warehouse(Options(folder=str(tmp_path), query_memory_mb=64, query_seconds=60))
    await made.open()
    asked = asyncio.create_task(made.query(UNSORTED, 0))
    places: set[Path] = set()
    while not asked.done():
        places |= {file.parent for file in (tmp_path / "spill").rglob("duckdb_temp*")}
        await asyncio.sleep(0.02)
    assert (await asked).rows == [[0]]
    assert places == {tmp_path / "spill" / "queries"}
    await made.close()


def test_a_query_may_not_fill_the_disk(tmp_path: Path) -> None:
    with engine.connect(64, tmp_path, (tmp_path,), spill_mb=1) as connection, pytest.raises(engine.OutOfMemory):
        engine.single(connection, UNSORTED)


async def test_a_query_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    made = Warehouse(Options(folder=str(tmp_path), query_seconds=0.5))
    await made.open()
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t"
    assert "longer than 0.5 s" in (await made.query(endless, 0)).error
    assert (await made.query("SELECT 1", 0)).rows == [[1]]
    await made.close()


async def test_a_query_whose_caller_left_harms_no_other(warehouse: Warehouse) -> None:
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await warehouse.query(endless, 0)
    assert await rows(warehouse, "SELECT count(*) FROM events") == [[10]]
