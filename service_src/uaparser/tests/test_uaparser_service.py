"""The service on the bench: what front, the director and people get."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from band import testing
from uaparser.hints import PROPS

IMAGE = Path(__file__).resolve().parents[3] / "band_images" / "uaparser"
CHROME_MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36"
)


@pytest.fixture
async def uaparser() -> AsyncIterator[testing.Bench]:
    """The service with the settings of its image."""
    with testing.imported("uaparser.main", IMAGE, ENRICH_KEYS="in.gen.track, in.gen.hook") as main:
        async with testing.running(subject=main.service, name="uaparser") as bench:
            yield bench


async def test_uaparser_answers_as_the_original(uaparser: testing.Bench) -> None:
    """front's enrich request of the captured wire gets the captured answer, with our additions behind it."""
    params = {"key": "in.gen.track.page", "ip": "2.125.160.216", "ua": CHROME_MAC}
    assert await uaparser.call("enrich", **params) == {
        "os_family": "Mac OS X",
        "os_version": [10, 15, 7],
        "browser_family": "Chrome",
        "browser_version": [120, 0, 0],
        "device_family": "Mac",
        "device_brand": "Apple",
        "device_model": "Mac",
        "is_bot": 0,
        "is_tables": 0,
        "is_mob": 0,
        "is_pc": 1,
        "is_tablet": 0,
        "bot_reason": None,
    }


async def test_uaparser_enriches_events_of_its_keys(uaparser: testing.Bench) -> None:
    """An event under a key of the setting is enriched, another one is not its own."""
    hook = testing.make_event("in.gen.hook.x", td={"ua": CHROME_MAC})
    assert (await uaparser.enrich(hook))["os_family"] == "Mac OS X"
    assert await uaparser.enrich({**hook, "key": "in.gen.hooks.x"}) is None


@pytest.mark.parametrize("params", [{}, {"ua": None}, {"ua": ""}, {"ua": 7}, {"ua": {"a": 1}, "ip": "1.1.1.1"}])
async def test_uaparser_without_a_user_agent(uaparser: testing.Bench, params: dict[str, Any]) -> None:
    """An event without a usable User-Agent gets a result that says so: an error would cost front its whole deadline."""
    assert await uaparser.call("enrich", **params) == {"reason": "no User-Agent in the event"}


async def test_uaparser_registers(uaparser: testing.Bench) -> None:
    """The director learns the keys of the setting and the properties that are asked for, each a text of its own."""
    row = {
        "method": "enrich",
        "role": "enricher",
        "options": {
            "keys": ["in.gen.track", "in.gen.hook"],
            "props": {"ua": "td.ua", **PROPS},
            "cache": {"props": sorted(["ua", *PROPS]), "ttl": 3600},
        },
    }
    assert (await uaparser.call("__status"))["register"] == [row]


async def test_uaparser_takes_client_hints(uaparser: testing.Bench) -> None:
    """What front tells of `td.ch` corrects the answer."""
    params = {"ua": CHROME_MAC, "ch_ua": '"Brave";v="120"', "ch_platform": '"macOS"', "ch_platform_version": '"14.4.1"'}
    result = await uaparser.call("enrich", **params)
    assert (result["browser_family"], result["os_version"]) == ("Brave", [14, 4, 1])


async def test_uaparser_for_people(uaparser: testing.Bench) -> None:
    """`parse` answers a User-Agent, and health tells the state of the cache."""
    assert (await uaparser.call("parse", ua="curl/8.5.0"))["bot_reason"] == "HTTP library"
    facts = (await uaparser.call("__status"))["health"]["checks"]["cache"]
    assert facts["status"] == "ok"
    assert 0 < facts["cached"] <= facts["capacity"]
