"""Who a visitor is: uid, cookie, domain, address, fingerprint, and what is kept of them."""

import ipaddress
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from front.event.client_address import ClientAddresses, is_plain_v4, normal
from front.event.fingerprint import fpid
from front.event.hostnames import cookie_domain_of, host_of
from front.event.ids import Snowflakes, time_of
from front.event.ip_privacy import masker
from front.event.message import http_message, uid_of, ws_message
from front.event.url_path import read_path
from front.event.visitor_id import UidCookie, cookie_uid, valid_uid

MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36"
)


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("6410748586712844288", True), ("1234567890", True), ("1" * 22, True), ("1" * 23, False), ("123456789", False),
        ("12345678901a", False), ("1234567890\n", False), ("١٢٣٤٥٦٧٨٩٠", False), (6410748586712844288, True),
        (123456789, False), (True, False), (1234567890.5, False), (None, False), (["1234567890"], False),
    ],
)  # fmt: skip
def test_a_uid_is_ten_to_twenty_two_digits(value: Any, good: bool) -> None:
    """Text or a whole number; nothing else, and no foreign digits."""
    assert valid_uid(value) is good


def test_the_uid_comes_from_query_body_cookie_or_is_new() -> None:
    """The first valid one counts, invalid ones fall through, a number of the body stays a number."""
    flakes = Snowflakes(clock=lambda: 1795470409131)
    assert uid_of({"uid": "1111111111"}, {"uid": "2222222222"}, "3333333333", flakes) == "1111111111"
    assert uid_of({"uid": "bad"}, {"uid": 2222222222}, "3333333333", flakes) == 2222222222
    assert uid_of({}, {"uid": {}}, "3333333333", flakes) == "3333333333"
    assert uid_of({}, {}, "", flakes) == str(1795470409131 << 22)


def test_ids_carry_their_time_and_follow_each_other() -> None:
    """id >> 22 is the millisecond; the next id of it is one more; a full or a stepped back clock repeats nothing."""
    now = [1795470409131]
    flakes = Snowflakes(clock=lambda: now[0])
    first, second = flakes.next(), flakes.next()
    assert (time_of(first), second - first) == (1795470409131, 1)
    ids = [flakes.next() for _ in range(5000)]
    assert len(set(ids)) == 5000
    assert time_of(ids[-1]) == 1795470409132
    now[0] -= 10_000
    assert flakes.next() > ids[-1]
    assert Snowflakes(3, clock=lambda: 1).next() == 1 << 22 | 3 << 12
    with pytest.raises(ValueError, match="worker"):
        Snowflakes(1024)


def test_events_follow_a_clock_that_was_set_back() -> None:
    """Ids go on rising from the wrong time; the events' times are the clock's, or Mixpanel refuses all of them."""
    right = 1795470409131
    now = [right + 3 * 86_400_000]
    flakes = Snowflakes(clock=lambda: now[0])
    wrong = flakes.next()
    assert flakes.event_time(wrong) == now[0]
    now[0] = right
    later = flakes.next()
    assert later > wrong
    assert flakes.event_time(later) == right
    td: dict[str, Any] = {}
    assert ws_message("in.gen.track.page", "track", "page", {}, "u", td, flakes)["time"] == right
    place = read_path("/track/page.json")
    assert http_message("k", "http", "track", "page", place, {}, {}, "u", td, flakes)["time"] == right
    rush = Snowflakes(clock=lambda: right)
    ids = [rush.next() for _ in range(9000)]
    assert [rush.event_time(ids[0]), rush.event_time(ids[-1])] == [right, right + 2]


@pytest.mark.parametrize(
    ("header", "uid"),
    [
        (None, ""), ("", ""), ("a=b; uid=123; c=d", "123"), ("xuid=1; uid=2", "2"), ('uid="77"', "77"), ("uidx=1", ""),
        ("uid=6410748586712844%32%38%38", "6410748586712844288"), ('uid="%37"', "7"), ("uid=%zz", "%zz"),
        ("uid=%ff", "%ff"), ("uid=1; uid=2", "1"), ("uid = 5", "5"),
    ],
)  # fmt: skip
def test_the_uid_is_found_among_the_cookies(header: str | None, uid: str) -> None:
    """Only the first cookie of exactly that name counts, percent-decoded where its escapes are valid."""
    assert cookie_uid(header) == uid


def test_the_cookie_lives_three_years_from_the_start() -> None:
    """The attributes stand in the original's order; a forwarded host replaces the configured domain."""
    cookie = UidCookie(".example.com", 1795470409)
    tail = "Path=/; Expires=Thu, 22 Nov 2029 21:46:49 GMT; HttpOnly; Secure; SameSite=None"
    assert cookie.value("1234567890") == f"uid=1234567890; Domain=.example.com; {tail}"
    assert cookie.value(1234567890, "t.shop.org") == f"uid=1234567890; Domain=t.shop.org; {tail}"
    assert UidCookie("", 1795470409).value("1") == f"uid=1; {tail}"


def test_endless_headers_are_not_remembered() -> None:
    """Addresses and host names are looked up once and kept; what cannot be one is not, however many of it come."""
    tracemalloc.start()
    try:
        for number in range(2000):
            text = f"{number}{'.1' * 8000}"
            assert normal(text) == host_of(text) == ""
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_cookie_ends_where_it_was_set() -> None:
    """Same domain and path, no life left."""
    cookie = UidCookie(".example.com", 1795470409)
    assert cookie.removal().startswith("uid=; Max-Age=0; Domain=.example.com; Path=/; ")
    assert cookie.removal("t.shop.org").startswith("uid=; Max-Age=0; Domain=t.shop.org; Path=/; ")


@pytest.mark.parametrize(
    ("domain", "cookie_domain"),
    [
        ("www.shop.example.com", ".example.com"), ("a.b.c.d", ".b.c.d"), ("example.com", ".example.com"),
        ("www.example.com", ".example.com"), ("t.example.com", ".example.com"), ("localhost", ""), ("", ""),
    ],
)  # fmt: skip
def test_the_cookie_domain_follows_from_the_configured_name(domain: str, cookie_domain: str) -> None:
    """`www.` goes, then the first label when more than two remain."""
    assert cookie_domain_of(domain) == cookie_domain


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("t.example.com", "t.example.com"),
        ("T.Example.com:8080", "t.example.com"),
        ("a.example, b.example", "a.example"),
        ("example.com; Secure=x", ""),
        ("ex ample.com", ""),
        ("localhost", ""),
        ("1.2.3.4", ""),
        ("[::1]:80", ""),
        ("a..b", ""),
        ("-a.b", ""),
        ("a.b\r\nX: y", ""),
        (".com", ""),
        ("", ""),
        ("x" * 300 + ".com", ""),
    ],
)
def test_a_forwarded_host_must_be_a_real_name(text: str, host: str) -> None:
    """Ports go; whatever could add an attribute to the cookie or is no full name gives nothing."""
    assert host_of(text) == host


def test_fpid_equals_the_original() -> None:
    """The captured pair of address and User-Agent gives the captured number."""
    assert fpid("2.125.160.216", MAC) == "8063120466863574367"


def addresses() -> ClientAddresses:
    trusted = ("127.0.0.0/8", "::1/128", "172.18.0.1/32", "10.0.0.0/8")
    return ClientAddresses(tuple(ipaddress.ip_network(item) for item in trusted))


@pytest.mark.parametrize(
    ("peer", "real_ip", "forwarded_for", "found"),
    [
        ("127.0.0.1", None, None, "127.0.0.1"),
        ("172.18.0.1", "2.125.160.216", None, "2.125.160.216"),
        ("172.18.0.1", "2.125.160.216", "9.9.9.9", "2.125.160.216"),
        ("172.18.0.5", "2.125.160.216", "9.9.9.9", "172.18.0.5"),
        ("8.8.8.8", "2.125.160.216", "9.9.9.9", "8.8.8.8"),
        ("127.0.0.1", None, "6.6.6.6, 9.9.9.9, 10.0.0.7", "9.9.9.9"),
        ("127.0.0.1", None, "10.0.0.9, 10.0.0.7", "10.0.0.9"),
        ("127.0.0.1", None, "nonsense", "127.0.0.1"),
        ("127.0.0.1", "nonsense", None, "127.0.0.1"),
        ("127.0.0.1", "::ffff:2.125.160.216", None, "2.125.160.216"),
        ("::1", "2001:DB8:0::1", None, "2001:db8::1"),
        ("::ffff:127.0.0.1", "9.9.9.9", None, "9.9.9.9"),
        ("fe80::1%eth0", None, None, "fe80::1"),
        ("", "9.9.9.9", None, ""),
        ("", None, None, ""),
        ("127.0.0.1", "9" * 500, None, "127.0.0.1"),
    ],
)
def test_headers_name_the_client_only_from_trusted_proxies(
    peer: str, real_ip: str | None, forwarded_for: str | None, found: str
) -> None:
    """X-Real-IP first, then the last stranger of X-Forwarded-For; a stranger cannot choose his address."""
    assert addresses().find(peer, real_ip, forwarded_for) == found


def test_a_proxy_that_is_not_trusted_is_told_of_once(capsys: pytest.CaptureFixture[str]) -> None:
    """One in a private network, by its network; strangers' headers are no news, and a trusted one's neither."""
    known = addresses()
    for peer in ("172.18.0.5", "172.18.0.5", "172.18.0.77", "8.8.8.8", "127.0.0.1"):
        known.find(peer, "2.125.160.216", None)
    told = [line for line in capsys.readouterr().out.splitlines() if "proxy_not_trusted" in line]
    assert len(told) == 1
    assert "172.18.0.0/24" in told[0] and "TRUSTED_PROXIES" in told[0]
    assert "172.18.0.5" not in told[0]


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("2.125.160.216", "2.125.160.0"), ("2001:db8:1:2:3::4", "2001:db8:1::"), ("::ffff:1.2.3.4", "1.2.3.0"),
        ("not one", ""), ("2002:5102:458e:1:2::3", "2002:5102:4500::"),
        ("2001:0:5102:458e:8000:63bf:aefd:ba71", "2001:0:5102::"), ("64:ff9b::5102:458e", "64:ff9b::"),
        ("::81.2.69.142", "::"), ("2003:5102:458e::1", "2003:5102:458e::"),
    ],
)  # fmt: skip
def test_addresses_are_truncated_by_default(address: str, kept: str) -> None:
    """24 bits of IPv4 and 48 of IPv6 remain; of an IPv4 address inside one of IPv6 no more than 24 either."""
    assert masker("truncate")(address) == kept


def test_hashed_addresses_depend_on_the_key_and_hide_the_address() -> None:
    """The same address gives the same text under one key and another one under another; `raw` keeps it."""
    one, two = masker("hash", "k" * 16), masker("hash", "l" * 16)
    assert one("2.125.160.216") == one("::ffff:2.125.160.216") != two("2.125.160.216")
    assert len(one("2.125.160.216")) == 32
    assert one("junk") == ""
    assert masker("raw")("2.125.160.216") == "2.125.160.216"
    with pytest.raises(ValueError, match="ip_privacy"):
        masker("none")


def test_an_address_has_one_spelling() -> None:
    """What is no address is empty."""
    assert [normal(text) for text in ("1.2.3.4", "::ffff:1.2.3.4", "1.2.3", "")] == ["1.2.3.4", "1.2.3.4", "", ""]


NEARLY_V4 = st.lists(st.integers(0, 300).map(str) | st.text("0123456789 .+-x\x00\ud800", max_size=4), max_size=5).map(
    ".".join
)


@given(st.ip_addresses().map(str) | NEARLY_V4 | st.text(max_size=20))
def test_the_quick_look_at_an_address_agrees_with_the_library(text: str) -> None:
    """What is taken for a plain IPv4 address is exactly what `ipaddress` reads and writes the same."""
    try:
        plain = str(ipaddress.IPv4Address(text)) == text
    except ValueError:
        plain = False
    assert is_plain_v4(text) == plain
    if plain:
        kept = ipaddress.IPv4Network((text, 24), strict=False).network_address
        assert (normal(text), masker("truncate")(text)) == (text, str(kept))
