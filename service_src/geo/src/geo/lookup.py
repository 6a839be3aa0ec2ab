"""Looks up places of addresses in a database that may be replaced at any time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from band.platform import Recent, decode_loosely, encode
from geo.address import BAD_RECORD, IPV6, NO_DATABASE, UNKNOWN, Address, check_address, no_place
from geo.dataset import BadData, Dataset

V = TypeVar("V")


class Addition(Protocol):
    """Further keys of an address, from a separate database."""

    @property
    def version(self) -> str:
        """The version of that database; empty while there is none."""

    def add(self, place: msgspec.Raw, address: Address) -> msgspec.Raw:
        """Return a place (a JSON object) with the further keys of its address. Never raises."""


class Locator(Generic[V]):
    """Looks up places: checks the address, caches addresses and places until the database changes.

    Many addresses share a record, so the place of a record is built once and cached as JSON: a third of the memory of a
    dict, and nothing to encode for each response.

    Args:
        database: its ``value`` is None while there is none.
        find: returns the key of a public address's record in an open database, None if it is not there; raises
            LookupError when the database has no such addresses (IPv6).
        read: returns the place behind a key, with an address that has it; may raise BadData for a damaged record.
        cache_size: cached places; a quarter as many addresses, because front caches those itself.
        addition: the source of further keys, if any.
    """

    def __init__(
        self,
        database: Dataset[V],
        find: Callable[[V, Address], int | None],
        read: Callable[[V, int, Address], dict[str, Any]],
        cache_size: int = 10_000,
        addition: Addition | None = None,
    ) -> None:
        self._database = database
        self._find = find
        self._read = read
        self._size = cache_size
        self._addition = addition
        self._addresses: Recent[str, msgspec.Raw] = Recent(cache_size // 4)
        self._places: Recent[int, msgspec.Raw] = Recent(cache_size)
        self._cached_of: tuple[V | None, str] = (None, "")
        self._nowhere: dict[str, msgspec.Raw] = {}
        self.bad_records = 0

    @property
    def version(self) -> str:
        """The versions of the databases in use; empty while there is none."""
        if self._database.value is None:
            return ""
        parts = [self._database.source, self._database.build_date, self._addition.version if self._addition else ""]
        return " ".join(filter(None, parts))

    def locate(self, ip: object) -> dict[str, Any]:
        """Return the place of an address, or ``{"reason": …}``; never raises."""
        place: dict[str, Any] = decode_loosely(self.answer(ip))
        return place

    def answer(self, ip: object) -> msgspec.Raw:
        """Return the place as JSON, which is shared between calls."""
        database = self._database.value
        addition = self._addition.version if self._addition else ""
        if database is not self._cached_of[0] or addition != self._cached_of[1]:
            self._addresses, self._places, self._nowhere = Recent(self._size // 4), Recent(self._size), {}
            self._cached_of = database, addition
        if type(ip) is str:
            known = self._addresses.get(ip)
            if known is not None:
                return known
        address = check_address(ip)
        if isinstance(address, str):
            return self._reason(address)
        if database is None:
            return self._reason(NO_DATABASE)
        place = self._look_up(database, address)
        if self._addition is not None:
            place = self._addition.add(place, address)
        if type(ip) is str:
            self._addresses.put(ip, place)
        return place

    def _look_up(self, database: V, address: Address) -> msgspec.Raw:
        try:
            key = self._find(database, address)
        except LookupError:
            return self._reason(IPV6 if address.version == 6 else UNKNOWN, signed=True)
        except BadData:
            self.bad_records += 1
            return self._reason(BAD_RECORD, signed=True)
        if key is None:
            return self._reason(UNKNOWN, signed=True)
        place = self._places.get(key)
        if place is None:
            place = self._signed(self._make(database, key, address))
            self._places.put(key, place)
        return place

    def _make(self, database: V, key: int, address: Address) -> dict[str, Any]:
        try:
            return self._read(database, key, address)
        except BadData:
            self.bad_records += 1
            return no_place(BAD_RECORD)

    def _reason(self, reason: str, *, signed: bool = False) -> msgspec.Raw:
        known = self._nowhere.get(reason)
        if known is None:
            answer = no_place(reason)
            known = self._signed(answer) if signed else msgspec.Raw(encode(answer))
            self._nowhere[reason] = known
        return known

    def _signed(self, place: dict[str, Any]) -> msgspec.Raw:
        """Return a place with its source and build date."""
        signature = {"source": self._database.source, "build_date": self._database.build_date}
        return msgspec.Raw(encode({**place, **signature}))
