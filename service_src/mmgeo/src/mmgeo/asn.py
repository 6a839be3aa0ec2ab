"""The network of an address: number and owner of its autonomous system, from a database of its own."""

from __future__ import annotations

import msgspec

from band.platform import Recent, encode
from geo.address import Address
from geo.dataset import BadData, Dataset
from mmgeo.reader import Database

_MEMBER = b'"asn":'


class Networks:
    """Adds ``asn``, ``as_org`` and ``asn_source`` to places that do not have them. Never raises.

    Args:
        database: its ``value`` is None while there is none; then places stay as they are.
        cache_size: networks that are remembered.
    """

    def __init__(self, database: Dataset[Database], cache_size: int = 10_000) -> None:
        self._database = database
        self._size = cache_size
        self._known: Recent[int, bytes] = Recent(cache_size)
        self._known_of: Database | None = None
        self.bad_records = 0

    @property
    def version(self) -> str:
        """Which database they come from now; empty while there is none."""
        return f"{self._database.source} {self._database.build_date}".strip() if self._database.value else ""

    def add(self, place: msgspec.Raw, address: Address) -> msgspec.Raw:
        """Return a place, which is a JSON object with at least one key, with the network of an address."""
        reader = self._database.value
        if reader is None:
            return place
        if reader is not self._known_of:
            self._known, self._known_of = Recent(self._size), reader
        try:
            key = reader.find(address)
        except LookupError:
            return place
        if key is None:
            return place
        members = self._known.get(key)
        if members is None:
            members = self._read(reader, address)
            self._known.put(key, members)
        text = bytes(place)
        return msgspec.Raw(b"%b%b}" % (text[:-1], members)) if members and _MEMBER not in text else place

    def _read(self, reader: Database, address: Address) -> bytes:
        """Return a record as JSON, each key with a comma before it; nothing when it has no number."""
        try:
            record = reader.record(address)
        except BadData:
            self.bad_records += 1
            return b""
        number, owner = record.get("autonomous_system_number"), record.get("autonomous_system_organization")
        if type(number) is not int:
            return b""
        named = {"as_org": owner} if isinstance(owner, str) and owner else {}
        return b"," + encode({"asn": number, **named, "asn_source": self.version})[1:-1]
