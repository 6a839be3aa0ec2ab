"""Which addresses have a place, and why others have none."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from band.geoip import Address, Locator, check_address


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


@given(st.text(max_size=60) | st.ip_addresses().map(str))
def test_never_raises(text: str) -> None:
    """Whatever a client writes into its address."""
    assert isinstance(check_address(text), str | Address)


def test_a_locator_survives_its_reader() -> None:
    """A look-up that meets damage answers so and is counted."""
    from band.dataset import BadData

    class Held:
        value: object | None = object()
        source = build_date = ""

    def broken(_database: object, _address: Address) -> dict[str, object]:
        raise BadData("damaged")

    locator = Locator(Held(), broken)
    assert locator.locate("8.8.8.8")["reason"] == "bad record" and locator.bad_records == 1
