"""What the geo services share: which addresses have a place at all, and the keys in which a place is told."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any, Final, Generic, NamedTuple, Protocol, TypedDict, TypeVar

from band.dataset import BadData

K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)


class Place(TypedDict, total=False):
    """A place on Earth as geo services answer it; a key that the database cannot fill is left out.

    The first eight keys are the original platform's. ``region_iso`` is the part after the dash of ISO 3166-2
    (``ENG`` of ``GB-ENG``); ``lat`` and ``lon`` are degrees, ``accuracy`` kilometres, the ``*_geoname_id`` those of
    GeoNames, ``asn`` a number; ``build_date`` is the ISO day on which the database was built. An answer without a
    place has ``reason`` only.
    """

    country_en: str
    country_ru: str
    country_iso: str
    region_en: str
    region_ru: str
    region_iso: str
    city_en: str
    city_ru: str
    district_en: str
    lat: float
    lon: float
    accuracy: int
    time_zone: str
    postal: str
    country_geoname_id: int
    region_geoname_id: int
    city_geoname_id: int
    asn: int
    as_org: str
    source: str
    build_date: str
    reason: str


class Address(NamedTuple):
    """A public address: its version (4 or 6), its number, and its text; IPv4 inside IPv6 is already taken out."""

    version: int
    number: int
    text: str


MISSING: Final = "missing"
MALFORMED: Final = "malformed"
PRIVATE: Final = "private"
LOOPBACK: Final = "loopback"
LINK_LOCAL: Final = "link-local"
MULTICAST: Final = "multicast"
RESERVED: Final = "reserved"
UNSPECIFIED: Final = "unspecified"
UNKNOWN: Final = "unknown"
IPV6: Final = "ipv6"
NO_DATABASE: Final = "no database yet"
BAD_RECORD: Final = "bad record"

_SPECIAL_V4 = {
    "0.0.0.0/32": UNSPECIFIED,
    "0.0.0.0/8": RESERVED,
    "10.0.0.0/8": PRIVATE,
    "100.64.0.0/10": PRIVATE,
    "127.0.0.0/8": LOOPBACK,
    "169.254.0.0/16": LINK_LOCAL,
    "172.16.0.0/12": PRIVATE,
    "192.0.0.0/24": RESERVED,
    "192.0.2.0/24": RESERVED,
    "192.88.99.0/24": RESERVED,
    "192.168.0.0/16": PRIVATE,
    "198.18.0.0/15": RESERVED,
    "198.51.100.0/24": RESERVED,
    "203.0.113.0/24": RESERVED,
    "224.0.0.0/4": MULTICAST,
    "240.0.0.0/4": RESERVED,
}
_SPECIAL_V6 = {
    "::/128": UNSPECIFIED,
    "::1/128": LOOPBACK,
    "fc00::/7": PRIVATE,
    "fec0::/10": PRIVATE,
    "fe80::/10": LINK_LOCAL,
    "ff00::/8": MULTICAST,
    "2001:2::/48": RESERVED,
    "2001:10::/28": RESERVED,
    "2001:20::/28": RESERVED,
    "2001:db8::/32": RESERVED,
    "3fff::/20": RESERVED,
}
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")
_NAT64 = int(ipaddress.ip_address("64:ff9b::")) >> 32
_6TO4 = 0x2002
_MAX_TEXT = 64


def _by_octet() -> list[tuple[tuple[int, int, str], ...]]:
    """Return, for each first octet, the special ranges in it; most octets have none, and cost nothing."""
    table: list[list[tuple[int, int, str]]] = [[] for _ in range(256)]
    for text, reason in _SPECIAL_V4.items():
        network = ipaddress.IPv4Network(text)
        low, high = int(network[0]), int(network[-1])
        for octet in range(low >> 24, (high >> 24) + 1):
            table[octet].append((low, high, reason))
    return [tuple(ranges) for ranges in table]


_V4_RANGES = _by_octet()
_V6_NETWORKS = [(ipaddress.IPv6Network(text), reason) for text, reason in _SPECIAL_V6.items()]


def check_address(ip: object) -> Address | str:
    """Return the public address in ``ip``, or the reason why it has no place: never raises.

    Args:
        ip: what a client sent: IPv4 or IPv6 text; anything else is ``malformed``.
    """
    if not isinstance(ip, str):
        return MISSING if ip is None else MALFORMED
    text = ip.strip()
    if not text:
        return MISSING
    try:
        number = int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
    except (OSError, ValueError):
        return _check_v6(text)
    return _check_v4(number, text)


def _check_v4(number: int, text: str) -> Address | str:
    for low, high, reason in _V4_RANGES[number >> 24]:
        if low <= number <= high:
            return reason
    return Address(4, number, text)


def _check_v6(text: str) -> Address | str:
    if len(text) > _MAX_TEXT:
        return MALFORMED
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return MALFORMED
    number = int(address)
    inner = _embedded_v4(number)
    if inner is not None:
        return _check_v4(inner, str(ipaddress.IPv4Address(inner)))
    for network, reason in _V6_NETWORKS:
        if address in network:
            return reason
    if address not in _GLOBAL_V6:
        return RESERVED
    return Address(6, number, str(ipaddress.IPv6Address(number)))


def _embedded_v4(number: int) -> int | None:
    """Return the IPv4 address inside a mapped (``::ffff:a.b.c.d``), NAT64 or 6to4 address."""
    if number >> 32 in (0xFFFF, _NAT64):
        return number & 0xFFFFFFFF
    if number >> 112 == _6TO4:
        return (number >> 80) & 0xFFFFFFFF
    return None


def nowhere(reason: str) -> dict[str, Any]:
    """Return the answer for an address without a place."""
    return {"reason": reason}


class Database(Protocol[V_co]):
    """The part of a :class:`band.dataset.Dataset` that look-ups need."""

    source: str
    build_date: str

    @property
    def value(self) -> V_co | None:
        """The open database."""


class Recent(Generic[K, T]):
    """A cache in two generations: when the young one is full it becomes the old one, and what was old is forgotten.

    What is used stays. (Deleting the first key of a dict, the obvious way, takes longer the more were deleted before.)

    Args:
        size: values that are remembered at most.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[K, T] = {}
        self._old: dict[K, T] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K) -> T | None:
        """Return what is remembered of ``key``, or None."""
        value = self._young.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self.put(key, value)
        return value

    def put(self, key: K, value: T) -> None:
        """Remember a value."""
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = value


class Locator(Generic[V]):
    """Answers places: checks the address, looks it up, remembers addresses and places until the database changes.

    Many addresses share a record, so the places of records are made once and shared by their addresses.

    Args:
        database: its ``value`` is None while there is none.
        find: returns the key of a public address's record in an open database, None if it is not there; raises
            LookupError when the database has no such addresses (IPv6).
        read: returns the place behind a key; may raise BadData for a damaged record.
        cache_size: addresses and places that are remembered, each.
    """

    def __init__(
        self,
        database: Database[V],
        find: Callable[[V, Address], int | None],
        read: Callable[[V, int], dict[str, Any]],
        cache_size: int = 10_000,
    ) -> None:
        self._database = database
        self._find = find
        self._read = read
        self._size = cache_size
        self._addresses: Recent[str, dict[str, Any]] = Recent(cache_size)
        self._places: Recent[int, dict[str, Any]] = Recent(cache_size)
        self._cached_of: V | None = None
        self.bad_records = 0

    @property
    def version(self) -> str:
        """Which database answers come from now; empty while there is none."""
        return "" if self._database.value is None else f"{self._database.source} {self._database.build_date}"

    def locate(self, ip: object) -> dict[str, Any]:
        """Return the place of an address, or ``{"reason": …}``; never raises.

        The answer is shared with later calls: do not change it.
        """
        database = self._database.value
        if database is not self._cached_of:
            self._addresses, self._places, self._cached_of = Recent(self._size), Recent(self._size), database
        if isinstance(ip, str) and (known := self._addresses.get(ip)) is not None:
            return known
        address = check_address(ip)
        if isinstance(address, str):
            return nowhere(address)
        if database is None:
            return nowhere(NO_DATABASE)
        place = self._look_up(database, address)
        if isinstance(ip, str):
            self._addresses.put(ip, place)
        return place

    def _look_up(self, database: V, address: Address) -> dict[str, Any]:
        try:
            key = self._find(database, address)
        except LookupError:
            return self._signed(nowhere(IPV6 if address.version == 6 else UNKNOWN))
        except BadData:
            self.bad_records += 1
            return self._signed(nowhere(BAD_RECORD))
        if key is None:
            return self._signed(nowhere(UNKNOWN))
        place = self._places.get(key)
        if place is None:
            place = self._signed(self._make(database, key))
            self._places.put(key, place)
        return place

    def _make(self, database: V, key: int) -> dict[str, Any]:
        try:
            return self._read(database, key)
        except BadData:
            self.bad_records += 1
            return nowhere(BAD_RECORD)

    def _signed(self, place: dict[str, Any]) -> dict[str, Any]:
        """Return a place with where it is from."""
        return {**place, "source": self._database.source, "build_date": self._database.build_date}
