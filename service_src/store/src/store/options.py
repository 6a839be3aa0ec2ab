"""What an operator sets, read once at the start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from band.platform import OF_EVERY_SERVICE, load_settings


class Options(msgspec.Struct, frozen=True):
    """Settings of the store. Sizes in MiB, times in seconds."""

    folder: str = "/data"
    batch_events: Annotated[int, msgspec.Meta(ge=1, le=50_000)] = 5000
    linger: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.0
    memory_mb: Annotated[int, msgspec.Meta(ge=64, le=65_536)] = 160
    """Memory of the engine that loads and seals."""
    keep_days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] = 0
    """Days after which events are removed; 0: they stay."""
    query_memory_mb: Annotated[int, msgspec.Meta(ge=64, le=65_536)] = 96
    query_seconds: Annotated[float, msgspec.Meta(ge=0.1, le=600)] = 20.0
    query_rows: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10_000
    query_bytes: Annotated[int, msgspec.Meta(ge=1000, le=1 << 24)] = 1 << 20


def read_options(settings: Mapping[str, Any]) -> Options:
    """Read all settings. SettingsError names every problem at once."""
    return load_settings(Options, settings, others=OF_EVERY_SERVICE)
