"""The verb that queries stored events."""

from __future__ import annotations

import csv
import sys
from typing import Any

from band_cli.client import Director, path_of
from band_cli.errors import BadInput
from band_cli.output import Output, as_json, clean


def sql(director: Director, output: Output, statement: str, service: str, *, as_csv: bool) -> None:
    """Run a SELECT over the stored events; `-` reads it from standard input."""
    if as_csv and output.as_json:
        raise BadInput("--csv and --json exclude each other", "choose one")
    text = sys.stdin.read() if statement == "-" else statement
    result = director.post(path_of("call", service, "query_events"), {"sql": text})
    if output.as_json:
        output.json(result)
        return
    columns = [clean(name) for name in result["columns"]]
    rows = [[_cell(value) for value in row] for row in result["rows"]]
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        sys.stdout.flush()
    else:
        numbers = [name for name, kind in zip(columns, result["types"], strict=True) if kind in _NUMBERS]
        output.table(columns, rows, right=numbers)
    if result["truncated"]:
        output.note(f"There are more rows than these {len(rows)}: narrow the query, or group its result.")


_NUMBERS = frozenset({"BIGINT", "INTEGER", "HUGEINT", "DOUBLE", "FLOAT", "SMALLINT", "UBIGINT"})


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return clean(value) if isinstance(value, str) else as_json(value)
