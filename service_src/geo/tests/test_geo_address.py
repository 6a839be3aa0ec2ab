"""Which addresses have a place, and why others have none."""

from __future__ import annotations

import ipaddress
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from band.cache import Recent
from geo.address import Address, check_address
from geo.lookup import Locator


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "missing"),
        ("", "missing"),
        ("  ", "missing"),
        (1, "malformed"),
        (b"8.8.8.8", "malformed"),
        ("1.2.3", "malformed"),
        ("01.2.3.4", "malformed"),
        ("1.2.3.4.5", "malformed"),
        ("8.8.8.8:80", "malformed"),
        ("8.8.8.8\x00", "malformed"),
        ("\ud800", "malformed"),
        ("x" * 10_000, "malformed"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "reserved"),
        ("10.0.0.1", "private"),
        ("100.64.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.0.1", "private"),
        ("127.8.8.8", "loopback"),
        ("169.254.1.1", "link-local"),
        ("192.0.2.1", "reserved"),
        ("198.18.0.1", "reserved"),
        ("203.0.113.1", "reserved"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::ffff:10.0.0.1", "private"),
        ("fe80::1%eth0", "link-local"),
        ("fd00::1", "private"),
        ("ff02::1", "multicast"),
        ("2001:db8::1", "reserved"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "reserved"),
        ("2001:2::1", "reserved"),
        ("4000::1", "reserved"),
    ],
)
def test_no_place(text: object, reason: str) -> None:
    """Each kind of address without a place has its own reason."""
    assert check_address(text) == reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.8.8.8", "8.8.8.8"),
        (" 8.8.8.8 ", "8.8.8.8"),
        ("172.32.0.1", "172.32.0.1"),
        ("::ffff:8.8.8.8", "8.8.8.8"),
        ("::FFFF:808:808", "8.8.8.8"),
        ("64:ff9b::8.8.8.8", "8.8.8.8"),
        ("2002:808:808::1", "8.8.8.8"),
        ("2A02:06B8:0:0::1", "2a02:6b8::1"),
    ],
)
def test_public_addresses(text: str, expected: str) -> None:
    """IPv4 inside IPv6 is taken out; the rest is written in its shortest form."""
    parsed = ipaddress.ip_address(expected)
    assert check_address(text) == Address(parsed.version, int(parsed), expected)


@given(st.integers(0, 2**32 - 1))
def test_ipv4_agrees_with_the_standard_library(number: int) -> None:
    """What the standard library calls global is public here too, but for the old 6to4 relays and multicast."""
    address = ipaddress.IPv4Address(number)
    public = not isinstance(check_address(str(address)), str)
    exceptions = address.is_multicast or address in ipaddress.ip_network("192.0.0.0/24")
    exceptions = exceptions or address in ipaddress.ip_network("192.88.99.0/24")
    assert public == address.is_global or exceptions


@given(st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,4}){2,4}[ .0x]?", fullmatch=True))
def test_ipv4_is_read_as_by_the_standard_library(text: str) -> None:
    """Leading zeros, too many digits, too few parts: the quick way refuses what ipaddress refuses, and nothing else."""
    try:
        number = int(ipaddress.IPv4Address(text.strip()))
    except ValueError:
        assert check_address(text) == "malformed"
    else:
        found = check_address(text)
        assert (isinstance(found, str) and found != "malformed") or found[:2] == (4, number)


@given(st.integers(0x20 << 120, (0x40 << 120) - 1))
def test_ipv6_agrees_with_the_standard_library(number: int) -> None:
    """Of the addresses that are given out, those that the standard library calls private have no place."""
    address = ipaddress.IPv6Address(number)
    if number >> 112 != 0x2002 and not address.is_global:
        assert check_address(str(address)) == "reserved"


@given(st.text(max_size=60) | st.ip_addresses().map(str))
def test_never_raises(text: str) -> None:
    """Whatever a client writes into its address."""
    assert isinstance(check_address(text), str | Address)


def test_a_locator_survives_its_reader() -> None:
    """A look-up that meets damage answers so and is counted."""
    from geo.dataset import BadData

    class Held:
        value: object | None = object()
        source = build_date = ""

    def broken(*_of: object) -> NoReturn:
        raise BadData("damaged")

    for find, read in ((broken, broken), (lambda _database, _address: 7, broken)):
        locator = Locator(Held(), find, read)
        assert locator.locate("8.8.8.8")["reason"] == "bad record" and locator.bad_records == 1


def test_a_record_is_read_once_for_all_its_addresses() -> None:
    """Addresses of one network share one answer, which says where it is from."""

    class Held:
        value: object | None = object()
        source, build_date = "file", "2026-01-01"

    read: list[int] = []

    def note(_database: object, key: int, _address: object) -> dict[str, object]:
        read.append(key)
        return {"country_iso": "GB"}

    locator = Locator(Held(), lambda _database, address: address.number >> 8, note)
    first, second = locator.locate("81.2.69.1"), locator.locate("81.2.69.2")
    assert locator.answer("81.2.69.1") is locator.answer("81.2.69.2")
    assert first == second == {"country_iso": "GB", "source": "file", "build_date": "2026-01-01"}
    assert read == [81 << 16 | 2 << 8 | 69]


def test_recent_keeps_what_is_used_and_is_bounded() -> None:
    """What is asked for again stays; what is not is forgotten; there are never more than the size."""
    recent: Recent[int, int] = Recent(10)
    for number in range(1, 100):
        recent.put(number, number)
        assert recent.get(1) == 1
        assert len(recent) <= 10
    assert recent.get(99) == 99
    assert recent.get(50) is None
