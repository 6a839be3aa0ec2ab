"""band_projects: the list as a whole, check mode, secrets, and what a newcomer is told."""

from __future__ import annotations

from typing import Any

from ansible_modules import run

SECRET = "sk_canary-secret-of-the-shop"
SHOP = {"id": "shop", "origins": ["https://shop.example"], "secret_keys": [SECRET], "project_ids": [7]}


def test_a_list_is_applied_once_and_check_mode_said_so_before(director: Any) -> None:
    """Created, unchanged, changed, removed; the director gets only what an entry names."""
    args = {"url": director.url, "projects": [SHOP, {"id": "blog"}]}
    told = run("band_projects", args, check=True)
    assert (told["changed"], told["created"], director.projects) == (True, ["shop", "blog"], {})
    assert told["diff"]["after"] == "create project shop\ncreate project blog\n"
    done = run("band_projects", args)
    assert (done["changed"], done["created"]) == (True, ["shop", "blog"])
    assert director.projects == {"shop": {**SHOP, "project_ids": ["7"]}, "blog": {"id": "blog"}}
    again = run("band_projects", args)
    assert (again["changed"], "diff" in again) == (False, False)
    fewer = run("band_projects", {**args, "projects": [{"id": "shop", "bots": "drop"}]})
    assert (fewer["changed_projects"], fewer["removed"]) == (["shop"], ["blog"])
    assert SECRET not in told["_text"] + done["_text"] + again["_text"]


def test_a_refused_list_says_why_and_shows_no_secret(director: Any) -> None:
    """In the director's words; a key that is none is refused before."""
    wrong = run("band_projects", {"url": director.url, "projects": [{**SHOP, "timezone": "Mars"}]})
    assert wrong["failed"] is True
    assert "nothing was changed" in wrong["msg"]
    assert "shop: timezone: 'Mars' is not a time zone" in wrong["msg"]
    unknown = run("band_projects", {"url": director.url, "projects": [{**SHOP, "origin": []}]})
    assert "origin. Supported" in unknown["msg"]
    assert SECRET not in wrong["_text"] + unknown["_text"]


def test_check_mode_works_with_a_director_that_knows_no_projects_yet(director: Any) -> None:
    """As before an upgrade, which replaces it first."""
    old = {"url": f"{director.url}/nowhere"}
    told = run("band_projects", {**old, "projects": [SHOP]}, check=True)
    assert (told["changed"], told["created"]) == (True, ["shop"])
    assert run("band_projects", {**old, "projects": []}, check=True)["changed"] is False
    assert run("band_projects", {**old, "projects": []})["failed"] is True


def test_check_mode_works_on_a_host_without_a_director() -> None:
    """All would be created; without projects nothing would change."""
    away = {"url": "http://127.0.0.1:1"}
    told = run("band_projects", {**away, "projects": [SHOP]}, check=True)
    assert (told["changed"], told["created"]) == (True, ["shop"])
    assert run("band_projects", {**away, "projects": []}, check=True)["changed"] is False
    assert run("band_projects", {**away, "projects": []})["failed"] is True
