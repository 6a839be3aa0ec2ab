"""The columns of an event in the store. What has no column of its own is in `data`, as JSON."""

from __future__ import annotations

from typing import Final, NamedTuple

SCHEMA_VERSION: Final = 1
"""Grows when a column changes its meaning; the manifest and each row say which one they were written with."""


class Column(NamedTuple):
    """A column: its name, its type in SQL, and the type of its values in a batch, which is JSON."""

    name: str
    type: str = "VARCHAR"
    given: str = ""

    @property
    def in_batch(self) -> str:
        """The type in a batch."""
        return self.given or self.type


COLUMNS: Final = (
    Column("id", "BIGINT"),
    Column("project"),
    Column("project_id"),
    Column("time", "TIMESTAMP_MS", "BIGINT"),
    Column("received", "TIMESTAMP_MS", "BIGINT"),
    Column("key"),
    Column("service"),
    Column("name"),
    Column("channel"),
    Column("uid"),
    Column("anonymous_id"),
    Column("session", "BIGINT"),
    Column("url_host"),
    Column("url_path"),
    Column("title"),
    Column("ref_host"),
    Column("utm_source"),
    Column("utm_medium"),
    Column("utm_campaign"),
    Column("utm_term"),
    Column("utm_content"),
    Column("country"),
    Column("region"),
    Column("city"),
    Column("os"),
    Column("os_version"),
    Column("browser"),
    Column("browser_version"),
    Column("device"),
    Column("bot", "BOOLEAN"),
    Column("bot_reason"),
    Column("privacy"),
    Column("dedup"),
    Column("schema", "SMALLINT"),
    Column("data"),
)
NAMES: Final = tuple(column.name for column in COLUMNS)
TIMES: Final = tuple(column.name for column in COLUMNS if column.type == "TIMESTAMP_MS")
