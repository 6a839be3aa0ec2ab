"""The errors of managed data files.

::

    DatasetError
    ├── SourceError          the source is unavailable, or sent something unexpected; try again later
    │   ├── SourceNotFound   the source has no such file (404, or no such path)
    │   └── QuotaReached     asking again today would cost the account its quota
    ├── NotChecked           the check did not finish, which says nothing about the file; try again later
    └── BadData              the file is not valid data; the same file is not fetched again
        └── WrongChecksum    the file does not match the checksum of its source; try again later
"""

from __future__ import annotations

from band import BandError


class DatasetError(BandError):
    """Root of the errors of managed data files."""


class SourceError(DatasetError):
    """The source is unavailable, or sent something unexpected; try again later."""


class SourceNotFound(SourceError):
    """The source has no such file."""


class QuotaReached(SourceError):
    """Asking again today would cost the account its quota."""


class NotChecked(DatasetError):
    """The check of a file did not finish, which says nothing about the file."""


class BadData(DatasetError):
    """The file is not valid data: corrupt, truncated, or of another schema."""


class WrongChecksum(BadData):
    """The file does not match the checksum of its source: changed in transit, or the source is being updated."""
