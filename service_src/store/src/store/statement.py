"""Which SQL people may run: one SELECT over the tables of events, by functions that only compute.

The engine's own parser decides what a statement is made of; whatever this module does not know is refused. It is the
first of three fences: the process that runs the statement reaches only the files of events, and has little memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from store.engine import Connection

MAX_CHARACTERS: Final = 20_000
_PLACES: Final = frozenset({"BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY", "EXPRESSION_LIST", "PIVOT", "COLUMN_DATA"})
"""What may be in a FROM clause, besides functions."""
_TABLE_FUNCTIONS: Final = frozenset({"range", "generate_series", "unnest"})
_FORBIDDEN: Final = frozenset({"current_setting", "getvariable", "nextval", "currval", "write_log", "getenv", "error"})


class RefusedStatement(ValueError):
    """A statement that is not run; the text says why."""


def check(connection: Connection, statement: str, tables: Iterable[str]) -> None:
    """Raise RefusedStatement unless `statement` is one SELECT over `tables`."""
    if len(statement) > MAX_CHARACTERS:
        raise RefusedStatement(f"the statement is longer than {MAX_CHARACTERS} characters")
    row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [statement]).fetchone()
    parsed = msgspec.json.decode(str(row[0]) if row else "{}")
    if parsed.get("error"):
        reason = str(parsed.get("error_message") or "it cannot be parsed").splitlines()[0]
        if "Only SELECT" in reason:
            reason = "only SELECT is possible here: nothing can be written"
        raise RefusedStatement(reason)
    if len(parsed.get("statements") or ()) != 1:
        raise RefusedStatement("write one statement at a time")
    _check_parts(parsed["statements"][0], {name.lower() for name in tables})


def _check_parts(tree: Any, tables: set[str]) -> None:
    named = {
        str(entry.get("key", "")).lower()
        for node in _nodes(tree)
        for entry in (node.get("cte_map") or {}).get("map", ())
    } | {str(node.get("cte_name") or node.get("ctename") or "").lower() for node in _nodes(tree)}
    for node in _nodes(tree):
        kind = str(node.get("type", ""))
        if kind == "TABLE_FUNCTION":
            name = str((node.get("function") or {}).get("function_name", "")).lower()
            if name not in _TABLE_FUNCTIONS:
                raise RefusedStatement(f"{name}() is not possible here; read from {', '.join(sorted(tables))}")
        elif kind == "BASE_TABLE":
            name = str(node.get("table_name", "")).lower()
            if node.get("schema_name") or node.get("catalog_name"):
                raise RefusedStatement(f"write the name of a table alone: {', '.join(sorted(tables))}")
            if name not in tables | named:
                raise RefusedStatement(f"there is no table {name!r}; read from {', '.join(sorted(tables))}")
        elif "sample" in node and "alias" in node and kind not in _PLACES:
            raise RefusedStatement(f"{kind} is not possible here")
        if node.get("class") == "FUNCTION" and str(node.get("function_name", "")).lower() in _FORBIDDEN:
            raise RefusedStatement(f"{node['function_name']}() is not possible here")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)
