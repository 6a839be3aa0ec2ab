"""Managed data files: fetched from ordered sources, checked, swapped in whole, and kept fresh.

A service makes one :class:`Dataset`, runs its ``run()`` as a worker, asks its ``value`` and shows its ``health()``.
"""

from __future__ import annotations

from geo.dataset.dataset import Dataset
from geo.dataset.errors import (
    BadData,
    DatasetError,
    NotChecked,
    QuotaReached,
    SourceError,
    SourceNotFound,
    WrongChecksum,
)
from geo.dataset.http import Answer, Http, basic, safe_url
from geo.dataset.packages import NpmPackage, PyPIPackage
from geo.dataset.source import Fetched, File, Source, Url, Visit
from geo.dataset.state import Validator
from geo.dataset.store import Checker, Loaded, Loader
from geo.dataset.unpack import check, unpack

__all__ = [
    "Answer",
    "BadData",
    "Checker",
    "Dataset",
    "DatasetError",
    "Fetched",
    "File",
    "Http",
    "Loaded",
    "Loader",
    "NotChecked",
    "NpmPackage",
    "PyPIPackage",
    "QuotaReached",
    "Source",
    "SourceError",
    "SourceNotFound",
    "Url",
    "Validator",
    "Visit",
    "WrongChecksum",
    "basic",
    "check",
    "safe_url",
    "unpack",
]
