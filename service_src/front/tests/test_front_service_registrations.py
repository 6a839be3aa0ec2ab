"""Where Redis has named users, front takes registrations from the key that the director alone may write."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis_with_users import RedisWithUsers, free_port

from band.constants import REGISTRATIONS_KEY

SHOP = {"method": "buy", "role": "handler", "options": {}, "service": "shop"}
EVIL = {"method": "*", "role": "handler", "options": {"alias": "track"}, "service": "evil"}


@pytest.fixture
def named_redis(tmp_path: Path) -> Iterator[RedisWithUsers]:
    """A Redis with the users of the playbook."""
    found = RedisWithUsers(tmp_path, free_port())
    found.start()
    yield found
    found.stop()


async def handlers(peers: Any) -> list[str]:
    """Ask front for its routes."""
    return list((await peers.call_front("handlers", {}))["result"])


async def buy(front: Any) -> dict[str, Any]:
    """Send an event over a connection of its own; each may meet another worker."""
    async with aiohttp.ClientSession() as session, session.get(f"{front.url}/shop/buy") as answer:
        return dict(await answer.json())


async def test_a_push_changes_nothing_that_the_directors_key_does_not_say(
    named_redis: RedisWithUsers, start_front: Any, speak: Any
) -> None:
    """Whoever is on the bus can send rows to front; only what the director has written is taken."""
    start_front(named_redis.admit("front"))
    evil, director = speak(named_redis.admit("evil")), speak(named_redis.dsn())
    await evil.register(EVIL)
    assert await handlers(evil) == []

    await director.redis.set(REGISTRATIONS_KEY, json.dumps({"register": [SHOP], "state_hash": 7}))
    answer = await director.call_front("__status", {"register": [SHOP], "state_hash": 7})
    assert answer["result"]["app_state"] == "running"
    assert await handlers(director) == ["in.gen.shop.buy"]
    again = await director.call_front("__status", {"register": [SHOP], "state_hash": 7})
    assert again["result"] is None

    await evil.register(EVIL, SHOP)
    await evil.call_front("__status", {"register": [], "state_hash": 8})
    assert await handlers(director) == ["in.gen.shop.buy"]
    assert named_redis.refusals() == []


async def test_all_workers_take_what_the_director_wrote(
    named_redis: RedisWithUsers, start_front: Any, speak: Any
) -> None:
    """One of them is told that there is news; those beside it have the same routes."""
    front = start_front(named_redis.admit("front"), WORKERS="2")
    director = speak(named_redis.dsn())
    await director.redis.set(REGISTRATIONS_KEY, json.dumps({"register": [SHOP], "state_hash": 9}))
    await director.call_front("__status", {"state_hash": 9})
    await speak(named_redis.admit("shop")).service("shop", lambda _params: {"sold": True})
    deadline = time.monotonic() + 10
    while any([await buy(front) != {"sold": True} for _ in range(12)]):
        assert time.monotonic() < deadline
    assert named_redis.refusals() == []


async def test_front_starts_with_what_the_director_wrote(
    named_redis: RedisWithUsers, start_front: Any, speak: Any
) -> None:
    """Its first event after a start is routed, also while the director is away."""
    director = speak(named_redis.dsn())
    await director.redis.set(REGISTRATIONS_KEY, json.dumps({"register": [SHOP], "state_hash": 5}))
    start_front(named_redis.admit("front"))
    assert await handlers(director) == ["in.gen.shop.buy"]
