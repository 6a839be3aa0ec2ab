"""Mixpanel's library for browsers in Chromium, unchanged: to front, and beside it straight to Mixpanel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clients import ROOT, Platform, finish, keeps_every_call, stage
from pages import Visitor
from playwright.sync_api import Error, Route

from band.platform import PROJECTS_KEY

pytestmark = pytest.mark.skipif(
    not os.environ.get("BAND_TEST_CLIENTS"), reason="bin/test clients installs the libraries, and runs these"
)
PROGRAM = "mixpanel_browser.mjs"
OF_PERSON = [
    {"$set": {"plan": "pro"}}, {"$set_once": {"first": "a"}}, {"$add": {"n": 2}}, {"$append": {"list": "a"}},
    {"$union": {"list": ["b"]}}, {"$remove": {"list": "a"}}, {"$unset": ["first"]}, {"$set": {"$transactions": []}},
    {"$delete": "u-1"},
    {"$set_once": {"$initial_referrer": "$direct", "$initial_referring_domain": "$direct"}},
]  # fmt: skip
OF_GROUP = [
    {"$set": {"seats": 3}}, {"$set_once": {"first": "a"}}, {"$union": {"list": ["a"]}}, {"$remove": {"list": "a"}},
    {"$unset": ["first"]}, {"$delete": ""},
]  # fmt: skip
OF_BROWSER = {"$os", "$browser", "$browser_version"}
"""What the library sets with each `$set` of a person."""
OPERATIONS = {"$add", "$append", "$delete", "$remove", "$set", "$set_once", "$union", "$unset"}
ADDED = {"ip", "_key", "_channel", "_id", "_projectId"}
"""Properties that send_mixpanel adds without any enricher."""


def through_the_site(visitor: Visitor, front: str) -> str:
    """Let the site's own server pass on requests to front, with 502 while front is away; return the path's URL.

    The library drops what it cannot send at all, and a response of another site that has no CORS headers.
    """

    def proxy(route: Route) -> None:
        try:
            route.fulfill(response=route.fetch(url=route.request.url.replace(f"{visitor.url}/front", front)))
        except Error:
            route.fulfill(status=502)

    visitor.page.route(f"{visitor.url}/front/**", proxy)
    return f"{visitor.url}/front"


def changes_of(events: list[dict[str, Any]], of: str) -> list[str]:
    """Return what changes of people or groups change, sorted: the library mixes up those of the same moment."""
    changes = [event["data"] for event in events if event["service"] == "mixpanel"]
    found = []
    for update in (data[of]["update"] for data in changes if of in data):
        change = {name: update[name] for name in OPERATIONS & update.keys()}
        if of == "user" and "$set" in change:
            change["$set"] = {name: value for name, value in change["$set"].items() if name not in OF_BROWSER}
        found.append(json.dumps(change))
    return sorted(found)


def test_every_call_of_mixpanels_browser_library_becomes_one_event(platform: Platform, visitor: Visitor) -> None:
    """From a page of another site; an alias is an identification too."""
    platform.events()
    finish(visitor.start(PROGRAM, platform.url))
    events = platform.events()
    tracked = {event["name"]: event for event in events if event["service"] == "track"}
    assert tracked.keys() == {"identify", "Order Completed", "page", "alias"}
    order = tracked["Order Completed"]
    assert order["data"]["data"] == {"total": 12.5, "items": [{"sku": "A"}], "nothing": None, "plan": "pro"}
    assert (order["uid"], order["data"]["user"]["id"], order["data"]["lib"]["sv"]) == ("u-1", "u-1", "2.83.0")
    assert order["dedup"] == order["data"]["context"]["$insert_id"]
    assert tracked["page"]["data"]["page"]["title"] == "Shop"
    assert tracked["alias"]["data"]["event"] == "$create_alias"
    assert {event["td"]["ip"] for event in events} == {"127.0.0.0"}
    people, groups = changes_of(events, "user"), changes_of(events, "group")
    assert (people, groups) == (sorted(map(json.dumps, OF_PERSON)), sorted(map(json.dumps, OF_GROUP)))
    assert len(events) == 5 + len(people) + len(groups)
    assert all(url.startswith((platform.url, visitor.url)) for url in visitor.requests)


@pytest.mark.timeout(180)
def test_no_call_of_the_browsers_library_is_lost_while_parts_are_away(own_platform: Platform, visitor: Visitor) -> None:
    """1,000 calls in five seconds; Redis is away for two of them, and front behind the site's server started again."""
    visitor.open()
    running = visitor.start(PROGRAM, through_the_site(visitor, own_platform.url), "1000")
    keeps_every_call(own_platform, running)


def write(platform: Platform, **project: Any) -> None:
    platform.stream.delete(PROJECTS_KEY)
    platform.stream.hset(PROJECTS_KEY, "shop", json.dumps(project))
    time.sleep(0.5)


@pytest.mark.timeout(180)
def test_no_call_of_the_browsers_library_is_lost_at_a_limit(own_platform: Platform, visitor: Visitor) -> None:
    """1,000 calls, of which the limit takes 100 a second after 300: the library sends the rest later."""
    write(own_platform, public_keys=["any"], events_per_second=100, burst=300)
    assert finish(visitor.start(PROGRAM, own_platform.url, "1000"), 120) > 0
    found = {event["dedup"]: event["data"]["data"]["n"] for event in own_platform.events()}
    assert sorted(found.values()) == list(range(1000))


def test_a_wrong_token_of_the_browsers_library_is_its_error(own_platform: Platform, visitor: Visitor) -> None:
    """It reports the status, and there is no event."""
    write(own_platform, public_keys=["another"])
    with pytest.raises(AssertionError, match="Bad HTTP status: 403"):
        finish(visitor.start(PROGRAM, own_platform.url))
    assert own_platform.events() == []


class Mixpanel:
    """The double, and send_mixpanel which delivers to it."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.port = stage.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir()
        shutil.copy(ROOT / "band_images" / "send_mixpanel" / "config.yaml", folder)
        path = os.pathsep.join(path for path in sys.path if path)
        common = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "HOST": "127.0.0.1"}
        sender = {
            "REDIS_DSN": dsn, "PORT": str(stage.free_port()), "MIXPANEL_URL": self.url, "MIXPANEL_TOKEN": "any",
            "EVENTS_FROM": "0", "LINGER": "0.1",
        }  # fmt: skip
        start = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "mixpanel_double"], env={**common, "PORT": str(self.port)}, **start
            ),
            subprocess.Popen([sys.executable, "-m", "send_mixpanel"], env={**common, **sender}, **start),
        ]
        stage.wait_for(self._answers, "the double")

    def _answers(self) -> bool:
        try:
            return bool(self.ask("stats"))
        except OSError:
            return False

    def ask(self, what: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/_double/{what}", timeout=5) as answer:
            return dict(json.load(answer))

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)


@pytest.fixture
def mixpanel(own_platform: Platform, tmp_path: Path) -> Iterator[Mixpanel]:
    started = Mixpanel(tmp_path / "mixpanel", own_platform.redis.dsn)
    yield started
    started.stop()


def post(url: str, form: bytes) -> bytes:
    """Send a request of the library as a program does: the double is not for pages of other sites."""
    request = urllib.request.Request(url, data=form, headers={"Content-Type": "application/x-www-form-urlencoded"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return bytes(answer.read())


def test_an_event_that_goes_both_ways_is_counted_once(
    own_platform: Platform, mixpanel: Mixpanel, visitor: Visitor
) -> None:
    """Each request goes straight to Mixpanel, and then through front: the same records but for enrichment."""
    sent: list[tuple[str, bytes]] = []

    def straight(route: Route) -> None:
        request = route.request
        sent.append((request.url.removeprefix(f"{visitor.url}/mixpanel"), request.post_data_buffer or b""))
        route.fulfill(body=post(f"{mixpanel.url}{sent[-1][0]}", sent[-1][1]), content_type="application/json")

    visitor.page.route(f"{visitor.url}/mixpanel/**", straight)
    finish(visitor.start(PROGRAM, f"{visitor.url}/mixpanel"))
    direct = {event["properties"]["$insert_id"]: event for event in mixpanel.ask("events")["events"]}
    changes = mixpanel.ask("changes")["changes"]
    assert (len(direct), len(changes)) == (5, 16)

    for target, body in sent:
        assert json.loads(post(f"{own_platform.url}{target}", body)) == {"status": 1, "error": None}
    stage.wait_for(lambda: len(mixpanel.ask("changes")["changes"]) == 32, "the changes")
    stage.wait_for(lambda: mixpanel.ask("stats")["received"] == 10, "the events")
    stats = mixpanel.ask("stats")
    assert (stats["unique"], stats["duplicates"], stats["refused"]) == (5, 5, 0)
    for event in mixpanel.ask("events")["events"]:
        before = direct[event["properties"]["$insert_id"]]
        added = {name: value for name, value in event["properties"].items() if name in ADDED}
        assert added.keys() == ADDED
        assert event["properties"] == {
            **before["properties"], **added, "time": round(before["properties"]["time"] * 1000)
        }  # fmt: skip
        assert event["event"] == before["event"]
    again = mixpanel.ask("changes")["changes"][16:]
    for kind in ("engage", "groups"):
        assert [change for change in again if change["endpoint"] == kind] == [
            change for change in changes if change["endpoint"] == kind
        ]
