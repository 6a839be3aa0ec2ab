"""Projects as front compiles them: keys, origins, what is unusable; and their token buckets."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest

from front.errors import RateLimited
from front.intake.keys import key_in_head, key_in_json
from front.projects.limits import MAX_TOLD, MAX_VISITORS, RateLimits
from front.projects.project import Origins, read_project
from front.projects.table import Access, ProjectTable

SECRET = "sk_1234"
SHOP = {
    "id": "shop", "public_keys": ["pk_a", "pk_b"], "secret_keys": [sha256(SECRET.encode()).hexdigest()],
    "origins": ["https://shop.example", "https://*.shop.example"], "project_ids": ["7"], "timezone": "Europe/Berlin",
}  # fmt: skip


def table(**projects: Any) -> ProjectTable:
    return ProjectTable({name: json.dumps(document).encode() for name, document in projects.items()})


def access(found: Access | None) -> Access:
    assert found is not None
    return found


def test_without_projects_any_key_or_none_is_the_default() -> None:
    for plain in (table(), table(default={"id": "default"})):
        assert plain.plain
        assert {access(plain.with_key("any")).project.id, plain.without_key("7").project.id} == {"default"}


def test_a_key_finds_its_project() -> None:
    """Two public keys are valid during a rotation; a secret one is known by its hash only."""
    found = table(shop=SHOP)
    assert not found.plain
    assert {access(found.with_key(key)).project.id for key in ("pk_a", "pk_b", SECRET)} == {"shop"}
    assert [access(found.with_key(key)).secret for key in ("pk_a", SECRET)] == [False, True]
    assert (found.without_key("7").project.id, found.without_key("8").project.id) == ("shop", "default")


@pytest.mark.parametrize(
    "key", ["pk_c", SHOP["secret_keys"][0], "pk_a ", "PK_A", "sk_" + "x" * 100_000, "\ud83d", "\x00", "päk", "'; --"]
)
def test_a_key_that_nobody_has_opens_nothing(key: str) -> None:
    """Not even the hash of a secret one."""
    assert table(shop=SHOP).with_key(key) is None


@pytest.mark.parametrize(
    "document",
    [
        b"", b"{", b"[]", b"null", b'{"public_keys": "pk"}', b'{"public_keys": [""]}', b'{"secret_keys": ["sk_clear"]}',
        b'{"origins": ["shop.example"]}', b'{"origins": ["https://*"]}', b'{"events_per_second": -1}',
        b'{"bots": "no"}',
        b'{"ignored_addresses": ["everywhere"]}', b'{"public_keys": ["\xff"]}', b"[" * 100_000,
        json.dumps({"public_keys": ["x" * 257]}).encode(),
    ],
)  # fmt: skip
def test_an_unusable_document_spoils_only_itself_and_opens_no_door(document: bytes) -> None:
    """Its keys are refused: it is not as if there were no keys."""
    found = ProjectTable({"bad": document, "shop": json.dumps(SHOP).encode()})
    assert found.unusable.keys() == {"bad"}
    assert access(found.with_key("pk_a")).project.id == "shop"
    assert ProjectTable({"bad": document}).with_key("any") is None


def test_fields_of_a_newer_director_are_ignored() -> None:
    assert read_project("a", b'{"id": "a", "new": {"x": 1}}').project.id == "a"


@pytest.mark.parametrize(
    ("origin", "admitted"),
    [
        ("https://shop.example", True), ("https://a.shop.example", True), ("https://a.b.shop.example", True),
        ("http://shop.example", False), ("https://evilshop.example", False), ("https://shop.example.evil", False),
        ("https://shop.example:444", False), ("null", False), ("", False), ("https://.shop.example.evil/", False),
    ],
)  # fmt: skip
def test_origins_are_exact_or_all_subdomains(origin: str, admitted: bool) -> None:
    assert Origins(SHOP["origins"]).admits(origin) is admitted


def test_an_address_is_ignored_by_its_network() -> None:
    project = read_project("a", b'{"ignored_addresses": ["203.0.113.0/24", "2001:db8::1"]}').project
    assert project.ignores("203.0.113.9")
    assert project.ignores("2001:db8::1")
    assert not project.ignores("203.0.114.9")
    assert not project.ignores("")


# --- where a key is read


@pytest.mark.parametrize(
    ("headers", "query", "key"),
    [
        ({b"x-write-key": b"pk"}, {}, "pk"),
        ({b"authorization": b"Bearer pk"}, {}, "pk"),
        ({b"authorization": b"bearer  pk "}, {}, "pk"),
        ({b"authorization": b"Basic cGs6"}, {}, "pk"),
        ({b"authorization": b"Basic cGs6c2VjcmV0"}, {}, "pk"),
        ({b"authorization": b"Basic !!!"}, {}, ""),
        ({b"authorization": b"Digest x"}, {}, ""),
        ({b"authorization": b"Basic"}, {}, ""),
        ({}, {"writeKey": "pk"}, "pk"),
        ({}, {"writeKey": ["pk", "pq"]}, ""),
        ({b"x-write-key": b"pk"}, {"writeKey": "other"}, "pk"),
        ({b"x-write-key": b"\xff\xfe"}, {}, "\xff\xfe"),
        ({b"authorization": b"Basic /////w=="}, {}, "ÿÿÿÿ"),
        ({b"authorization": b"Bearer " + b"k" * 30_000}, {}, "k" * 1017),
        ({}, {}, ""),
    ],
)  # fmt: skip
def test_a_key_is_read_from_headers_or_the_query(headers: Any, query: Any, key: str) -> None:
    assert key_in_head(headers, query) == key


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"events": [{"api_key": "no"}], "api_key": "pk"}', "pk"),
        (b'{"token": "pk"}', "pk"),
        (b'{"api_key": 5, "token": "pk"}', "pk"),
        (b'{"api_key": ""}', ""), (b'{"api_key": {"a": 1}}', ""), (b"[]", ""), (b"", ""), (b"{", ""),
        (b"[" * 50_000, ""),
        (b'{"api_key": "\xff"}', ""), (b'{"api_key": "\\ud83d"}', ""),
    ],
)  # fmt: skip
def test_a_key_is_read_from_the_top_of_a_body(body: bytes, key: str) -> None:
    assert key_in_json(body, ("api_key", "token")) == key


# --- limits


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


LIMITED = {"events_per_second": 100, "burst": 50, "visitor_events_per_second": 10, "public_keys": ["a", "b"]}


def limits(clock: Clock, found: ProjectTable) -> RateLimits:
    made = RateLimits(tells=True, clock=clock)
    made.use(found)
    return made


def taken(own: RateLimits, key: Access, count: int, address: str = "") -> float:
    """Take, or return how long to wait."""
    try:
        own.take(key, address, count)
    except RateLimited as error:
        assert error.status == 429
        return error.retry_after
    return 0


def test_a_bucket_refills_and_each_key_has_its_own() -> None:
    clock = Clock()
    found = table(shop=LIMITED)
    own = limits(clock, found)
    first, second = access(found.with_key("a")), access(found.with_key("b"))
    assert taken(own, first, 50) == 0
    assert taken(own, first, 1) == 1
    assert taken(own, second, 50) == 0
    clock.now += 0.1
    assert taken(own, first, 11) == 1
    assert taken(own, first, 10) == 0


def test_a_request_larger_than_the_burst_is_paid_off_afterwards() -> None:
    clock = Clock()
    found = table(shop=LIMITED)
    own, key = limits(clock, found), access(found.with_key("a"))
    assert taken(own, key, 550) == 0
    assert taken(own, key, 1) == 6
    clock.now += 5.1
    assert taken(own, key, 10) == 0


def test_a_visitor_has_a_limit_of_its_own() -> None:
    """Of a request that one of two limits refuses nothing is counted."""
    clock = Clock()
    found = table(shop=LIMITED)
    own, key = limits(clock, found), access(found.with_key("a"))
    assert taken(own, key, 10, "192.0.2.1") == 0
    for _ in range(100):
        assert taken(own, key, 1, "192.0.2.1") == 1
    assert taken(own, key, 10, "192.0.2.2") == 0
    assert taken(own, key, 30, "") == 0
    assert taken(own, key, 1, "") == 1


def test_what_is_given_back_can_be_taken_again() -> None:
    """Neither the other workers nor the visitor are charged for it."""
    clock = Clock()
    found = table(shop=LIMITED)
    own, key = limits(clock, found), access(found.with_key("a"))
    assert taken(own, key, 10, "192.0.2.1") == 0
    own.give_back(key, "192.0.2.1", 10)
    assert own.report() == [{"key a": 0}, [["shop", "192.0.2.1", 0]]]
    assert taken(own, key, 10, "192.0.2.1") == 0


def test_one_worker_gathers_no_reports() -> None:
    """Nobody would fetch them."""
    found = table(shop=LIMITED)
    own = RateLimits(tells=False)
    own.use(found)
    own.take(access(found.with_key("a")), "192.0.2.1", 1)
    assert own.report() == []


def test_what_another_worker_took_counts_in_a_worker_that_was_idle() -> None:
    """It was full for a minute: that minute does not pay for what was taken since."""
    clock = Clock()
    found = table(shop=LIMITED)
    busy, idle, key = limits(clock, found), limits(clock, found), access(found.with_key("a"))
    clock.now += 60
    assert taken(busy, key, 50) == 0
    idle.hear(busy.report())
    assert taken(idle, key, 1) == 1
    assert taken(busy, key, 1) == 1


def test_a_changed_limit_begins_anew_and_others_stay() -> None:
    clock = Clock()
    found = table(shop=LIMITED)
    own, key = limits(clock, found), access(found.with_key("a"))
    assert taken(own, key, 50) == 0
    own.use(table(shop={**LIMITED, "timezone": "UTC"}))
    assert taken(own, key, 1) == 1
    own.use(table(shop={**LIMITED, "burst": 60}))
    assert taken(own, key, 60) == 0


def test_a_flood_of_addresses_takes_bounded_memory() -> None:
    clock = Clock()
    found = table(shop={"visitor_events_per_second": 5, "public_keys": ["a"]})
    own, key = limits(clock, found), access(found.with_key("a"))
    for number in range(3 * MAX_VISITORS):
        taken(own, key, 1, f"192.0.2.{number}")
    assert len(own._visitors) <= MAX_VISITORS
    assert len(own.report()[1]) == MAX_TOLD
    assert own.report() == []


@pytest.mark.parametrize("spread", [(1.0, 0.0, 0.0), (1 / 3, 1 / 3, 1 / 3), (0.9, 0.1, 0.0)])
def test_three_workers_hold_one_limit(spread: tuple[float, ...]) -> None:
    """Ten times the limit for 20 seconds, wherever the connections end, with reports ten times a second."""
    clock = Clock()
    found = table(shop={"events_per_second": 50, "public_keys": ["a"], "visitor_events_per_second": 40})
    workers = [limits(clock, found) for _ in spread]
    key = access(found.with_key("a"))
    admitted = 0
    for step in range(2_000):
        clock.now += 0.01
        for number, share in enumerate(spread):
            for _ in range(round(5 * share) if share != 0.1 else step % 2):
                admitted += taken(workers[number], key, 1, "192.0.2.1") == 0
        if step % 10 == 0:
            for one in workers:
                report = json.loads(json.dumps(one.report()))
                for other in workers:
                    if report and other is not one:
                        other.hear(report)
    assert admitted == pytest.approx(40 * 20 + 40, rel=0.05)
