"""Libraries of other products, unchanged, with a wrong key and over a limit."""

from __future__ import annotations

import os

import pytest
from clients import KEY, Platform, finish, keeps_every_limited_call, start_client

pytestmark = pytest.mark.skipif(
    not os.environ.get("BAND_TEST_CLIENTS"), reason="bin/test clients installs the libraries, and runs these"
)
CLIENTS = {
    "segment for Node": ("segment.cjs", (), "[403] Forbidden"),
    "segment for Python": ("segment_calls.py", ("plain",), "403"),
    "segment for Python, gzip": ("segment_calls.py", ("gzip",), "403"),
    "rudderstack for Node": ("rudderstack.cjs", (), "403"),
    "amplitude for Node": ("amplitude.cjs", (), "Invalid API key"),
    "posthog for Node": ("posthog.cjs", (), "401"),
    "posthog for Python": ("posthog_calls.py", ("plain",), "401"),
    "mixpanel for Node": ("mixpanel.cjs", (), "Mixpanel Server Error: no project has this write key"),
    "mixpanel for Python": ("mixpanel_calls.py", ("plain",), "Mixpanel error: no project has this write key"),
    "mixpanel for Python, buffered": ("mixpanel_calls.py", ("buffered",), "no project has this write key"),
}
"""Program, its words, and what it prints of a wrong key."""


@pytest.mark.parametrize("client", CLIENTS)
def test_a_wrong_key_is_an_error_of_the_client_and_no_event(platform: Platform, client: str) -> None:
    """It is given up at once: nothing is sent again."""
    script, words, told = CLIENTS[client]
    platform.write_project(public_keys=["another"])
    running = start_client(script, platform.url, *words)
    said, _ = running.communicate(timeout=60)
    assert running.returncode != 0, said
    assert told in said
    assert platform.events() == []
    platform.write_project(public_keys=[KEY])
    finish(start_client(script, platform.url, *words))
    assert {event["project"] for event in platform.events()} == {"shop"}


@pytest.mark.parametrize("script", ["umami.cjs", "jitsu.cjs"])
def test_a_wrong_key_stores_no_event(platform: Platform, script: str) -> None:
    """These do not look at the response."""
    platform.write_project(public_keys=["another"])
    start_client(script, platform.url).communicate(timeout=60)
    assert platform.events() == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("client", CLIENTS)
def test_no_call_is_lost_to_a_limit(platform: Platform, client: str) -> None:
    """1,000 calls in five seconds, of which the limit takes 100 a second: the client sends the rest later.

    Mixpanel's buffer may send some again, with the same id, because others with them were refused.
    """
    script, words, _ = CLIENTS[client]
    platform.write_project(public_keys=[KEY], events_per_second=100, burst=50)
    keeps_every_limited_call(platform, start_client(script, platform.url, *words, "1000"))
