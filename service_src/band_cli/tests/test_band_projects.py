"""`band project`: list, show, set, key and rm against a director, as typed in a shell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from band_cli.client import in_our_words

SITE = "https://shop.example"


@pytest.fixture(autouse=True)
def nothing_before(director: Any) -> Iterator[None]:
    """Remove what the test before left."""
    yield
    for project in director.get("/projects")[1]:
        director.post(f"/projects/{project['id']}/remove", {})


def test_set_makes_a_project_and_says_its_key(here: Any, director: Any) -> None:
    """A second `set` changes what is given and leaves the rest; '' empties a list."""
    ran = here("project", "set", "shop", "--origin", SITE, "--timezone", "Europe/Berlin", "--events-per-second", "9")
    made = director.get("/projects/shop")[1]
    assert ran.code == 0, ran.err
    assert ran.out == f"project shop is set; public key {made['public_keys'][0]}\n"
    assert (made["origins"], made["timezone"], made["events_per_second"]) == ([SITE], "Europe/Berlin", 9)
    assert here("project", "set", "shop", "--origin", "", "--project-id", "7", "--bots", "drop").code == 0
    changed = {**made, "origins": [], "project_ids": ["7"], "bots": "drop"}
    assert director.get("/projects/shop")[1] == changed
    assert json.loads(here("project", "set", "shop", "--json").out) == changed


def test_set_takes_every_field_but_secret_keys(here: Any, director: Any) -> None:
    """Those would be seen in the list of processes; `key` makes them."""
    words = ("--burst", "20", "--visitor-events-per-second", "2", "--visitor-burst", "4", "--body-limit", "50000")
    more = ("--ignore", "203.0.113.7", "--consent", "opt-in", "--public-key", "old-vendors-key")
    ran = here("project", "set", "shop", "--events-per-second", "10", *words, *more)
    assert ran.code == 0, ran.err
    made = director.get("/projects/shop")[1]
    assert (made["burst"], made["visitor_burst"], made["body_limit"]) == (20, 4, 50000)
    assert made["ignored_addresses"] == ["203.0.113.7"]
    assert (made["consent"], made["public_keys"]) == ("opt-in", ["old-vendors-key"])


def test_list_and_show_are_tables_and_json(here: Any, director: Any) -> None:
    """`default` is always there; --json is what the director says."""
    here("project", "set", "shop", "--origin", SITE, "--events-per-second", "5", "--burst", "8")
    ran = here("project", "list")
    assert ran.out.split()[:6] == ["ID", "PUBLIC", "KEYS", "LIMIT", "FROM", "ORIGINS"]
    assert "5/s, burst 8" in ran.out
    assert SITE in ran.out
    assert "default" in ran.out
    assert json.loads(here("project", "list", "--json").out) == director.get("/projects")[1]
    shown = here("project", "show", "shop").out
    assert all(word in shown for word in (SITE, "UTC", "5/s, burst 8", "front's own"))
    assert json.loads(here("project", "--json", "show", "shop").out) == director.get("/projects/shop")[1]


def test_key_prints_a_key_alone_and_the_rest_beside_it(here: Any, director: Any) -> None:
    """So that a script can keep it; a secret one is not shown again."""
    here("project", "set", "shop")
    first = director.get("/projects/shop")[1]["public_keys"][0]
    ran = here("project", "key", "shop", "public")
    second = ran.out.strip()
    assert director.get("/projects/shop")[1]["public_keys"] == [first, second]
    assert "until you remove them" in ran.err
    assert here("project", "key", "shop", "--remove", first).out.startswith("the key of project shop is removed")
    secret = here("project", "key", "shop", "secret")
    assert secret.out.startswith("sk_")
    assert "shown once" in secret.err
    shown = here("project", "show", "shop").out
    assert secret.out.strip() not in shown
    mark = director.get("/projects/shop")[1]["secret_keys"][0]
    assert mark in shown
    assert here("project", "key", "shop", "--remove", mark).code == 0
    assert set(json.loads(here("project", "key", "shop", "secret", "--json").out)) == {"id", "kind", "key"}


@pytest.mark.parametrize("words", [(), ("public", "--remove", "pk_x")])
def test_key_wants_to_know_which(here: Any, words: tuple[str, ...]) -> None:
    """Neither nothing nor two things at once."""
    ran = here("project", "key", "default", *words)
    assert (ran.code, "band project show default" in ran.err) == (2, True)


def test_rm_asks_and_removes(here: Any, director: Any) -> None:
    """Of `default` it takes the settings only."""
    here("project", "set", "shop")
    unsure = here("project", "rm", "shop")
    assert (unsure.code, "--yes" in unsure.err) == (2, True)
    assert here("project", "rm", "shop", "--yes").out == "project shop is removed with its keys\n"
    assert here("project", "rm", "default", "--yes").out == "project default has its default settings and no keys\n"
    assert [row["id"] for row in director.get("/projects")[1]] == ["default"]


def test_errors_say_what_is_wrong_and_which_command_helps(here: Any) -> None:
    """In the words of `band`, with exit code 1; a wrong option is 2."""
    here("project", "set", "shop")
    wrong = here("project", "set", "shop", "--origin", "Shop.example", "--timezone", "Berlin")
    assert wrong.code == 1
    assert "did you mean 'https://shop.example'?" in wrong.err
    assert "'Europe/Berlin'" in wrong.err
    assert "docs/projects.md describes the fields" in wrong.err
    missing = here("project", "show", "shp")
    assert (missing.code, "band: there is no project 'shp'" in missing.err) == (1, True)
    assert "did you mean 'shop'? band project list" in missing.err
    assert here("project", "set", "shop", "--bots", "eat").code == 2
    here("project", "key", "shop", "public")
    assert "band project key shop --remove KEY" in here("project", "key", "shop", "public").err


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        ("GET /projects lists the projects", "band project list lists the projects"),
        ("see GET /projects/my-shop", "see band project show my-shop"),
        ('POST /projects/shop/keys with {"kind": "public"}', "band project key shop public"),
        ("POST /projects/shop/keys with `remove`", "band project key shop --remove KEY"),
    ],
)
def test_hints_of_the_api_become_commands(hint: str, words: str) -> None:
    """What a newcomer can type."""
    assert in_our_words(hint) == words
