"""Projects over the director's API: keys, checks, the inventory's list, and what is kept in Redis for front."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from band.platform import PROJECTS_KEY
from band.redis import RedisAddress, RedisLink
from director.state.projects import Project

SECRET = "sk_canary-secret-5f21c0ffee00"
SITE = "https://shop.example"


@pytest.fixture(autouse=True)
def nothing_before(director: Any) -> Iterator[None]:
    """Remove what the test before left."""
    yield
    for project in director.get("/projects")[1]:
        assert director.post(f"/projects/{project['id']}/remove", {})[0] == 200


@pytest.fixture
async def redis(redis_dsn: str) -> AsyncIterator[RedisLink]:
    link = RedisLink("test")
    link.start(RedisAddress.parse(redis_dsn))
    await link.ready(15)
    yield link
    await link.close()


async def kept(redis: RedisLink) -> dict[str, Any]:
    """Return the documents that front reads."""
    flat = await redis.command("HGETALL", PROJECTS_KEY)
    found = flat if isinstance(flat, dict) else dict(zip(*[iter(flat)] * 2, strict=True))
    return {key.decode(): json.loads(value) for key, value in found.items()}


def ids(director: Any) -> list[str]:
    return [project["id"] for project in director.get("/projects")[1]]


async def test_without_projects_there_is_only_default_and_nothing_is_stored(director: Any, redis: RedisLink) -> None:
    """`default` is shown with what counts for it; front finds an empty hash, as before there were projects."""
    status, listed = director.get("/projects")
    assert (status, [row["id"] for row in listed]) == (200, ["default"])
    shown = director.get("/projects/default")[1]
    assert (shown["public_keys"], shown["secret_keys"], shown["timezone"], shown["bots"]) == ([], [], "UTC", "mark")
    assert await kept(redis) == {}


async def test_a_project_gets_a_key_and_front_finds_all_its_fields(director: Any, redis: RedisLink) -> None:
    """The generated key has at least 128 random bits, is safe in a URL, and the document leaves no field out."""
    status, made = director.post("/projects/shop", {"origins": [SITE], "timezone": "Europe/Berlin"})
    assert status == 200
    key = made["public_keys"][0]
    assert key.startswith("pk_")
    assert len(key) >= 3 + 22
    assert key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    stored = (await kept(redis))["shop"]
    assert set(stored) == set(Project.__struct_fields__)
    assert (stored["public_keys"], stored["origins"], stored["timezone"]) == ([key], [SITE], "Europe/Berlin")
    assert director.get("/projects/shop")[1] == made


def test_a_change_leaves_what_is_not_given(director: Any) -> None:
    """POST sets the given fields; keys and other settings stay."""
    made = director.post("/projects/shop", {"origins": [SITE], "bots": "drop"})[1]
    changed = director.post("/projects/shop", {"events_per_second": 50, "burst": 100, "project_ids": [7, "-9"]})[1]
    expected = {**made, "events_per_second": 50, "burst": 100, "project_ids": ["7", "-9"]}
    assert changed == expected
    assert director.post("/projects/shop", {})[1] == expected


async def test_default_gets_no_key_by_itself(director: Any, redis: RedisLink) -> None:
    """A setting of `default` must not close the door to events without a key."""
    assert director.post("/projects/default", {"timezone": "Europe/Berlin"})[1]["public_keys"] == []
    assert (await kept(redis))["default"]["public_keys"] == []


async def test_of_a_secret_key_only_the_hash_is_kept_and_no_response_has_it_again(
    director: Any, redis: RedisLink
) -> None:
    """Given or generated: Redis has its SHA-256, responses a fingerprint, the log nothing."""
    given = director.post("/projects/shop", {"secret_keys": [SECRET]})
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert given[1]["secret_keys"] == [f"sha256:{digest[:8]}"]
    status, made = director.post("/projects/shop/keys", {"kind": "secret"})
    assert (status, made["kind"]) == (200, "secret")
    assert made["key"].startswith("sk_")
    stored = (await kept(redis))["shop"]["secret_keys"]
    assert stored == [digest, hashlib.sha256(made["key"].encode()).hexdigest()]
    out = json.dumps([given, director.get("/projects"), director.get("/projects/shop")]) + director.log.read_text()
    for secret in (SECRET, made["key"], *stored):
        assert secret not in out


def test_a_rotation_is_a_second_key_and_then_the_end_of_the_first(director: Any) -> None:
    """Both are valid in between; a third is refused, and so is the end of the only public key."""
    first = director.post("/projects/shop", {})[1]["public_keys"][0]
    refused = director.post("/projects/shop/keys", {"remove": first})
    assert (refused[0], first in json.dumps(refused)) == (409, False)
    second = director.post("/projects/shop/keys", {"kind": "public"})[1]["key"]
    assert director.get("/projects/shop")[1]["public_keys"] == [first, second]
    assert director.post("/projects/shop/keys", {"kind": "public"})[0] == 409
    assert director.post("/projects/shop/keys", {"remove": first})[1]["public_keys"] == [second]


def test_a_secret_key_ends_by_itself_or_by_its_fingerprint(director: Any) -> None:
    """Nobody can look up a secret key, so its fingerprint names it too."""
    director.post("/projects/shop", {"secret_keys": [SECRET]})
    assert director.post("/projects/shop/keys", {"remove": SECRET})[1]["secret_keys"] == []
    one = director.post("/projects/shop", {"secret_keys": [SECRET]})[1]["secret_keys"][0]
    assert director.post("/projects/shop/keys", {"remove": one})[1]["secret_keys"] == []
    status, body = director.post("/projects/shop/keys", {"remove": SECRET})
    assert (status, SECRET in json.dumps(body)) == (404, False)


@pytest.mark.parametrize("body", [{}, {"kind": "public", "remove": "pk_x"}])
def test_keys_wants_one_thing_at_a_time(director: Any, body: dict[str, str]) -> None:
    """Neither nothing nor both."""
    assert director.post("/projects/default/keys", body)[0] == 422


def test_all_problems_of_a_request_are_reported_at_once(director: Any) -> None:
    """Each with its field, what is wrong and what was probably meant; and nothing is changed."""
    status, body = director.post(
        "/projects/shop",
        {
            "origins": ["https://Shop.Example/x", "*", "https://shop.example:443"], "timezone": "Europe/Berln",
            "events_per_second": -1, "bots": "eat", "ignored_addresses": ["203.0.113.7/24", "home", "::/0"],
            "project_ids": ["a b"], "burts": 3,
        },
    )  # fmt: skip
    said = body["error"]["message"]
    assert status == 422
    for part in (
        "did you mean 'https://shop.example'?", "leave `origins` empty", "has the default port",
        "did you mean 'Europe/Berlin'?", "events_per_second: must be at least 0", "bots: ", "'203.0.113.0/24'",
        "'home' is not an address", "every address", "'a b' is not a projectId", "'burts' is unknown; did you mean",
    ):  # fmt: skip
        assert part in said, said
    assert ids(director) == ["default"]


@pytest.mark.parametrize(
    "body",
    [
        {"public_keys": [SECRET]},
        {"secret_keys": ["pk_canary-short-but-enough"]},
        {"secret_keys": ["canary-too-short"]},
        {"secret_keys": [f"{SECRET} {SECRET}"]},
        {"secret_keys": [SECRET, SECRET]},
        {"secret_keys": SECRET},
        {"secret_keys": [[SECRET]]},
        {"secret_keys": [f"{number}{SECRET}" for number in range(3)]},
        {"public_keys": []},
        {"public_keys": ["canary-1-public", "canary-2-public", "canary-3-public"]},
    ],
)
def test_a_refused_key_is_not_repeated(director: Any, body: dict[str, Any]) -> None:
    """It may be a secret in the wrong place."""
    status, answer = director.post("/projects/shop", body)
    assert status == 422
    assert "canary" not in json.dumps(answer)
    assert "canary" not in director.log.read_text()


@pytest.mark.parametrize("name", ["Shop", "-shop", "a" * 65, "a.b", "%20", "sh%0Aop"])
def test_an_id_is_checked(director: Any, name: str) -> None:
    """Small letters, digits, _ and -."""
    status, body = director.post(f"/projects/{name}", {})
    assert status == 422
    assert "project's id of a-z" in body["error"]["message"]


@pytest.mark.parametrize(
    "origin",
    [
        SITE, "https://*.shop.example", "http://localhost:3000", "http://[::1]:8080", "capacitor://localhost",
        "chrome-extension://abcdefgh", "https://xn--mnchen-3ya.example:8443",
    ],
)  # fmt: skip
def test_origins_are_what_browsers_send(director: Any, origin: str) -> None:
    """Sites, their subdomains, ports, local ones, and those of apps and extensions."""
    assert director.post("/projects/shop", {"origins": [origin]})[1]["origins"] == [origin]


@pytest.mark.parametrize("origin", ["shop.example", "https://", "https://a.*.b", "https://shop.example:99999", ""])
def test_other_texts_are_no_origins(director: Any, origin: str) -> None:
    """A host without a scheme, a star in the middle, an impossible port."""
    assert director.post("/projects/shop", {"origins": [origin]})[0] == 422


def test_a_key_belongs_to_one_project_and_is_of_one_kind(director: Any) -> None:
    """The same for values of `projectId`; the error names both projects, not the key."""
    shared = "canary-shared-key-of-two-projects"
    director.post("/projects/shop", {"public_keys": [shared], "project_ids": ["7"]})
    status, body = director.post("/projects/blog", {"secret_keys": [shared], "project_ids": [7]})
    said = json.dumps(body)
    assert (status, shared in said) == (409, False)
    assert "a key of project" in said
    assert "project_ids of project" in said
    assert director.post("/projects/shop", {"secret_keys": [shared]})[0] == 409
    assert ids(director) == ["default", "shop"]


@pytest.mark.parametrize("value", ["shop", "007", "7.5", "1e3", "+7", "99999999999999999999"])
def test_a_project_id_that_no_event_can_have_is_refused(director: Any, value: str) -> None:
    """`projectId` is a number in every event, so front would never find the project by another text."""
    status, body = director.post("/projects/shop", {"project_ids": [value]})
    assert status == 422
    assert "is not a projectId" in body["error"]["message"]


def test_a_burst_without_a_rate_is_refused(director: Any) -> None:
    """It would have no effect, and whoever wrote it would think that it had."""
    status, body = director.post("/projects/shop", {"burst": 10, "visitor_burst": 5})
    assert status == 422
    assert "shop: burst: has no effect without events_per_second" in body["error"]["message"]
    assert "visitor_events_per_second" in body["error"]["message"]


def test_what_is_not_there_is_said_to_be_so(director: Any) -> None:
    """With the nearest id."""
    director.post("/projects/shop", {})
    for status, body in (
        director.get("/projects/shp"), director.post("/projects/shp/remove", {}),
        director.post("/projects/shp/keys", {"kind": "public"}),
    ):  # fmt: skip
        assert status == 404
        assert "did you mean 'shop'?" in body["error"]["hint"]


async def test_the_inventorys_list_is_applied_as_a_whole(director: Any, redis: RedisLink) -> None:
    """New ones are created with keys, a second time changes nothing, what left the list goes, others stay."""
    director.post("/projects/byhand", {})
    wanted = {"projects": [{"id": "shop", "origins": [SITE], "secret_keys": [SECRET]}, {"id": "blog"}]}
    tried = director.post("/projects", {**wanted, "dry_run": True})[1]
    assert (tried["created"], tried["dry_run"]) == (["shop", "blog"], True)
    assert set(await kept(redis)) == {"byhand"}
    assert director.post("/projects", wanted)[1] == {**tried, "dry_run": False}
    key = director.get("/projects/shop")[1]["public_keys"]
    again = director.post("/projects", wanted)[1]
    assert (again["unchanged"], again["created"], again["changed"], again["removed"]) == (["shop", "blog"], [], [], [])
    fewer = director.post("/projects", {"projects": [{"id": "shop"}]})[1]
    assert (fewer["changed"], fewer["removed"]) == (["shop"], ["blog"])
    shop = director.get("/projects/shop")[1]
    assert (shop["origins"], shop["public_keys"], len(shop["secret_keys"])) == ([], key, 1)
    assert ids(director) == ["default", "byhand", "shop"]


async def test_a_list_is_written_in_one_step(director: Any, redis: RedisLink) -> None:
    """front reads all projects after each write: a list of a thousand must not cost a thousand times that."""
    await redis.command("CONFIG", "RESETSTAT")
    assert len(director.post("/projects", {"projects": [{"id": f"p{n}"} for n in range(50)]})[1]["created"]) == 50
    assert len(director.post("/projects", {"projects": []})[1]["removed"]) == 50
    stats = (await redis.command("INFO", "commandstats")).decode()
    assert [part for name in ("hset", "hdel") for part in (f"cmdstat_{name}:calls=1,",) if part not in stats] == []


def test_the_list_takes_over_what_was_made_by_hand(director: Any) -> None:
    """From then on it comes and goes with the inventory, and `default` loses only its settings."""
    director.post("/projects/shop", {"bots": "drop"})
    listed = {"projects": [{"id": "shop"}, {"id": "default", "consent": "opt-in"}]}
    assert director.post("/projects", listed)[1]["changed"] == ["shop", "default"]
    assert director.get("/projects/shop")[1]["inventory"] is True
    assert director.post("/projects", {"projects": []})[1]["removed"] == ["default", "shop"]
    assert director.get("/projects/default")[1]["consent"] == "off"


def test_the_problems_of_all_projects_of_a_list_are_reported_at_once(director: Any) -> None:
    """Each with its project, or its place where it has no id."""
    wanted = [{"id": "shop", "timezone": "Mars"}, {"origins": []}, 5, {"id": "shop"}, {"id": "Blog", "bots": 1}]
    status, body = director.post("/projects", {"projects": wanted})
    assert status == 422
    for part in (
        "shop: timezone: 'Mars'", "projects[1]: 'id' is missing", "projects[2]: must be an object",
        "shop: is listed twice", "Blog: id: must be", "Blog: bots:",
    ):  # fmt: skip
        assert part in body["error"]["message"], body
    assert ids(director) == ["default"]


@pytest.mark.parametrize("path", ["/projects/shop/keys?kind=public", "/projects/shop/remove"])
def test_get_changes_no_project(director: Any, path: str) -> None:
    """GET reads here, unlike elsewhere: a link must not cost a key."""
    director.post("/projects/shop", {})
    assert director.get(path)[0] == 405
    assert ids(director) == ["default", "shop"]


@pytest.mark.parametrize("path", ["/projects", "/projects/shop", "/projects/shop/keys", "/projects/shop/remove"])
def test_pages_of_other_sites_reach_no_project(director: Any, path: str) -> None:
    """Not even by a navigation, which may open pages that only read."""
    site = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert director.request("POST", path, {}, site)[0] == 403
    assert ids(director) == ["default"]


def test_the_dashboard_lists_projects_and_shows_no_secret(director: Any) -> None:
    """Keys, origins and limits, and of a secret key its fingerprint."""
    made = director.post(
        "/projects/shop", {"origins": [SITE], "secret_keys": [SECRET], "events_per_second": 5, "burst": 9}
    )[1]
    status, text = director.request("GET", "/dashboard/projects")
    assert status == 200
    for part in ("shop", "default", made["public_keys"][0], made["secret_keys"][0], SITE, "5 events/s, 9 at once"):
        assert part in text
    assert SECRET not in text
    assert "/dashboard/projects" in director.request("GET", "/")[1]


async def test_an_unreadable_document_hides_no_other_project(director: Any, redis: RedisLink) -> None:
    """It is left out, as in front, and POST replaces it."""
    director.post("/projects/shop", {})
    await redis.command("HSET", PROJECTS_KEY, "blog", "{")
    assert ids(director) == ["default", "shop"]
    assert director.post("/projects/blog", {})[0] == 200
    assert ids(director) == ["default", "blog", "shop"]
