"""DuckDB, as both processes of the store use it. No other module names its settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb

from store.columns import COLUMNS, NAMES, TIMES

Connection = duckdb.DuckDBPyConnection
Error = duckdb.Error
Interrupted = duckdb.InterruptException
Damaged: Final = (duckdb.CatalogException, duckdb.SerializationException)
"""What a file that was copied while it was written raises when it is attached."""
OutOfMemory = duckdb.OutOfMemoryException
Unfit: Final = (duckdb.DataError, duckdb.InvalidInputException)
"""What a statement raises because of its values; anything else says something of the engine, the disk or memory."""

MAX_ROW_BYTES: Final = 4 << 20
"""The longest row of a batch. DuckDB takes twice as much memory while it reads one."""
_TABLE: Final = ", ".join(f'"{column.name}" {column.type}' for column in COLUMNS)
_BATCH: Final = "{" + ", ".join(f"'{column.name}': '{column.in_batch}'" for column in COLUMNS) + "}"
SELECTED: Final = ", ".join(f'"{name}"' for name in NAMES)
_FROM_BATCH: Final = ", ".join(f'make_timestamp_ms("{n}") AS "{n}"' if n in TIMES else f'"{n}"' for n in NAMES)


def connect(memory_mb: int, spill: Path, readable: Sequence[Path], *, spill_mb: int = 0) -> Connection:
    """Open an engine in memory, of one thread, that reaches files in the folders `readable` and nothing else.

    What does not fit into memory goes to the folder `spill`, `spill_mb` at most unless it is 0. No two processes may
    have the same: their files would have the same names.

    Extensions are not loaded from the network, and nothing can change these settings afterwards. To close it changes
    no file: after an error, what it has in memory may not be what is on the disk.
    """
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{memory_mb}MB",
            "threads": 1,
            "temp_directory": str(spill),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": False,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    if spill_mb:
        connection.execute(f"SET max_temp_directory_size = '{spill_mb}MB'")
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")
    connection.execute("SET checkpoint_threshold = '4MB'")  # until then, new rows are in memory
    connection.execute(f"SET allowed_directories = {_texts(readable)}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def text(value: object) -> str:
    """Return a text as it is written in SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def _texts(values: Sequence[object]) -> str:
    return "[" + ", ".join(map(text, values)) + "]"


def parquet(files: Sequence[Path]) -> str:
    """Return what reads the columns of Parquet files in a FROM clause."""
    return f"(SELECT {SELECTED} FROM read_parquet({_texts(files)}, union_by_name = true))"


def empty() -> str:
    """Return what reads no event in a FROM clause."""
    columns = ", ".join(f'NULL::{column.type} AS "{column.name}"' for column in COLUMNS)
    return f"(SELECT {columns} WHERE false)"


def batch(file: Path) -> str:
    """Return what reads a batch, a file of JSON lines of different ids, in a FROM clause; a message is read once."""
    options = f"format = 'newline_delimited', columns = {_BATCH}, maximum_object_size = {MAX_ROW_BYTES}"
    return (
        f"(SELECT {_FROM_BATCH} FROM read_json({text(file)}, {options}) "
        "QUALIFY dedup = '' OR row_number() OVER (PARTITION BY project, dedup ORDER BY id) = 1)"
    )


def create_events(connection: Connection, database: str) -> None:
    """Create the table of events in an attached database, if it is not there."""
    connection.execute(f'CREATE TABLE IF NOT EXISTS "{database}".events ({_TABLE})')


def single(connection: Connection, statement: str) -> tuple[object, ...]:
    """Run a statement that returns one row."""
    row = connection.execute(statement).fetchone()
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY always has one
    return row
