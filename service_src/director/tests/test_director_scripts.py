"""A Lua script that does not end stops Redis for everybody; the director ends it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_with_users import ROOT, SERVICE, Client, RedisWithUsers, free_port

from band.errors import RedisUnavailable
from band.redis import RedisAddress, RedisLink
from director.redis.scripts import Scripts


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisWithUsers]:
    """A Redis with the users of the playbook and a service."""
    found = RedisWithUsers(tmp_path, free_port())
    found.start()
    found.admit("evil")
    yield found
    found.stop()


def spin(redis: RedisWithUsers, script: str) -> threading.Thread:
    def send() -> None:
        with contextlib.suppress(AssertionError, OSError), Client(redis.port, "evil.0a1b2c3d", SERVICE) as client:
            client("EVAL", script, 1, "evil:x")

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


async def until_told(scripts: Scripts) -> str:
    """Look until a script is told of."""
    async with asyncio.timeout(12):
        while not scripts.reason:
            await scripts.look()
            await asyncio.sleep(0.1)
    return scripts.reason


async def test_a_script_that_does_not_end_is_ended_and_told_of(redis: RedisWithUsers) -> None:
    """Redis answers again within seconds; it is counted, and health tells of it."""
    address = RedisAddress.parse(redis.dsn())
    link = RedisLink("director")
    link.start(address)
    try:
        await link.ready(5)
        scripts = Scripts(link, address)
        await scripts.look()
        assert (scripts.killed, scripts.reason) == (0, "")
        thread = spin(redis, "while true do end")
        assert "the director killed it" in await until_told(scripts)
        assert scripts.killed == 1
        await asyncio.to_thread(thread.join, 5)
        assert await link.command("PING") == b"PONG"
    finally:
        await link.close()


class Outside:
    """A connection that Redis did not let in because it was busy."""

    async def command(self, *_parts: object) -> object:
        raise RedisUnavailable("There is no connection to Redis: BUSY Redis is busy running a script.")


async def test_a_director_that_comes_while_redis_is_busy_ends_the_script_too(redis: RedisWithUsers) -> None:
    """It needs no connection of before."""
    thread = spin(redis, "while true do end")
    scripts = Scripts(Outside(), RedisAddress.parse(redis.dsn()))
    await until_told(scripts)
    assert scripts.killed == 1
    await asyncio.to_thread(thread.join, 5)


async def test_a_script_that_has_written_is_told_of_with_what_to_do(redis: RedisWithUsers) -> None:
    """Redis ends it only with itself."""
    spin(redis, "redis.call('SET', KEYS[1], 1) while true do end")
    scripts = Scripts(Outside(), RedisAddress.parse(redis.dsn()))
    assert "SHUTDOWN NOSAVE" in await until_told(scripts)
    assert scripts.killed == 0


def test_the_role_has_redis_say_after_a_second_that_it_is_busy(redis: RedisWithUsers) -> None:
    """The tests' Redis runs with the same threshold."""
    assert "\nbusy-reply-threshold 1000\n" in (ROOT / "roles/redis/templates/redis.conf.j2").read_text()
    with redis.admin() as admin:
        assert admin("CONFIG", "GET", "busy-reply-threshold")[1] == b"1000"
