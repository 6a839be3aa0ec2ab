"""The process that runs people's SQL: it can read the files of events, and cannot write, connect, or grow without end.

`python -m store.reading_process FOLDER MEMORY_MB` answers each line of its input with a line.
"""

from __future__ import annotations

import base64
import math
import resource
import shutil
import sys
import threading
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from store import engine
from store.query import Answer, Query
from store.statement import RefusedStatement, check

TABLE: Final = "events"
OUTSIDE_ENGINE_MB: Final = 256
"""Memory beyond the engine's limit: of Python, and of functions on texts and lists."""
MAX_SPILL_MB: Final = 1024
"""What a query may take of the disk, which Redis and front's journal need too."""
_FETCH: Final = 1000


def main() -> None:
    """Answer until the input ends."""
    folder, memory_mb = Path(sys.argv[1]), int(sys.argv[2])
    most = (memory_mb + OUTSIDE_ENGINE_MB) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    spill = folder / "spill" / "queries"
    shutil.rmtree(spill, ignore_errors=True)  # of a process that was killed
    readable = (folder / "events", folder / "recent", spill)
    connection = engine.connect(memory_mb, spill, readable, spill_mb=MAX_SPILL_MB)
    decoder, encoder = msgspec.json.Decoder(Query), msgspec.json.Encoder()
    known: list[str] | None = None
    for line in sys.stdin.buffer:
        query = decoder.decode(line)
        if query.files != known:
            known = query.files
            source = engine.parquet([Path(file) for file in known]) if known else engine.empty()
            connection.execute(f"CREATE OR REPLACE VIEW {TABLE} AS FROM {source}")
        sys.stdout.buffer.write(encoder.encode(run(connection, query)) + b"\n")
        sys.stdout.buffer.flush()


def run(connection: engine.Connection, query: Query) -> Answer:
    """Run a statement within its limits."""
    watch = threading.Timer(query.seconds, connection.interrupt)
    watch.start()
    try:
        check(connection, query.sql, (TABLE,))
        return _rows(connection, query)
    except RefusedStatement as error:
        return Answer(error=str(error))
    except engine.Interrupted:
        return Answer(error=f"the query took longer than {query.seconds:g} s; ask for fewer days")
    except (engine.OutOfMemory, MemoryError):
        return Answer(error="the query needs more memory than it may have; ask for fewer days or groups")
    except engine.Error as error:
        return Answer(error=str(error).splitlines()[0][:500])
    finally:
        watch.cancel()


def _rows(connection: engine.Connection, query: Query) -> Answer:
    result = connection.execute(query.sql)
    description = result.description or []
    rows: list[list[Any]] = []
    size, truncated = 0, False
    while not truncated and (some := result.fetchmany(min(_FETCH, query.rows + 1 - len(rows)))):
        for row in some:
            plain = [plain_value(value) for value in row]
            size += len(msgspec.json.encode(plain))
            if len(rows) >= query.rows or size > query.bytes:
                truncated = True
                break
            rows.append(plain)
    return Answer([column[0] for column in description], [str(column[1]) for column in description], rows, truncated)


def plain_value(value: Any) -> Any:
    """Return a value of SQL as JSON has it: times, large numbers and decimals as text, bytes as base64."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [plain_value(inner) for inner in value]
    if isinstance(value, dict):
        return {str(key): plain_value(inner) for key, inner in value.items()}
    return str(value)


if __name__ == "__main__":
    main()
