"""Managed data files: fetched from ordered sources, checked, swapped in whole, and kept fresh.

A service makes one :class:`Dataset`, runs its ``run()`` as a worker, asks its ``value`` and shows its ``health()``.
"""

from __future__ import annotations

from band.dataset.dataset import Dataset
from band.dataset.errors import BadData, DatasetError, QuotaReached, SourceError, SourceNotFound, WrongChecksum
from band.dataset.http import Answer, Http, basic, safe_url
from band.dataset.packages import NpmPackage, PyPIPackage
from band.dataset.source import Fetched, File, Source, Url, Visit
from band.dataset.state import Validator
from band.dataset.store import Loaded, Loader
from band.dataset.unpack import check, unpack

__all__ = [
    "Answer",
    "BadData",
    "Dataset",
    "DatasetError",
    "Fetched",
    "File",
    "Http",
    "Loaded",
    "Loader",
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
