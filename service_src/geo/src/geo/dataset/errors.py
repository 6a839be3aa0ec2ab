"""What can go wrong with a managed data file.

::

    DatasetError
    ├── SourceError          the source could not be asked, or answered with something else; try again later
    │   ├── SourceNotFound   the source has no such file (404, or no such path)
    │   └── QuotaReached     asking again today would cost the account its quota
    ├── NotChecked           the check came to no end, which says nothing of the file; try again later
    └── BadData              what came is not the data it should be; the same file is not fetched again
        └── WrongChecksum    what came is not the file that its source promised; try again later
"""

from __future__ import annotations

from band import BandError


class DatasetError(BandError):
    """Root of what goes wrong with a managed data file."""


class SourceError(DatasetError):
    """The source could not be asked, or answered with something else; try again later."""


class SourceNotFound(SourceError):
    """The source has no such file."""


class QuotaReached(SourceError):
    """Asking again today would cost the account its quota."""


class NotChecked(DatasetError):
    """The check of a file came to no end, which says nothing of the file."""


class BadData(DatasetError):
    """What came is not the data it should be: corrupt, cut short, or of another schema."""


class WrongChecksum(BadData):
    """What came is not the file that its source promised: changed on its way, or the source is being renewed."""
