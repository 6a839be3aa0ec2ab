"""What front says of a Redis that would not keep events."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp

from band.errors import RedisReplyError
from band.redis import RedisAddress
from band.redis.link import RedisLink
from front.storage import redis_persistence
from front.storage.redis_persistence import RedisPersistence, read_info, remedy


def facts_of(info: bytes | str) -> dict[str, Any]:
    return redis_persistence.facts_of(read_info(info))


def test_a_good_redis_is_well() -> None:
    """noeviction and an append-only file: nothing to say."""
    info = b"# Memory\r\nmaxmemory:100\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\naof_last_write_status:ok\r\n"
    assert facts_of(info) == {"status": "ok", "maxmemory_policy": "noeviction", "aof": True}


def test_what_would_cost_events_is_told() -> None:
    """Eviction only where there is a limit; a file that cannot be written; no file at all."""
    evicting = b"maxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n"
    assert "set it to noeviction" in facts_of(evicting)["hint"]
    assert facts_of(evicting.replace(b"maxmemory:100", b"maxmemory:0"))["status"] == "ok"
    unwritable = facts_of(b"aof_enabled:1\r\naof_last_write_status:err\r\n")
    assert "refuses events (MISCONF)" in unwritable["reason"]
    assert "free space on the disk of Redis' volume" in unwritable["hint"]
    assert "snapshot" in facts_of(b"aof_enabled:1\r\nrdb_last_bgsave_status:err\r\n")["reason"]
    unkept = facts_of(b"aof_enabled:0\r\n")
    assert (unkept["status"], "append-only" in unkept["warning"]) == ("ok", True)


def test_hints_name_a_command_that_works_on_an_installed_host() -> None:
    """There Redis has named users: `redis-cli` alone gets NOAUTH, `redis-admin` has the password."""
    evicting = facts_of(b"maxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n")
    for hint in (evicting["hint"], remedy("OOM"), remedy("READONLY"), remedy("WRONGTYPE")):
        assert "docker exec redis redis-admin " in hint
        assert "redis-cli" not in hint


def test_a_redis_that_fills_up_is_told_before_it_is_full() -> None:
    """From 80 % of maxmemory on: large events fill it long before the stream has its greatest number of them."""
    info = "used_memory:%d\r\nmaxmemory:104857600\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n"
    assert facts_of(info % 83_000_000)["status"] == "ok"
    full = facts_of(info % 84_000_000)
    assert (full["status"], full["code"]) == ("degraded", "redis_nearly_full")
    assert "80 of 100 MiB" in full["reason"]
    assert facts_of("used_memory:84000000\r\nmaxmemory:0\r\naof_enabled:1\r\n")["status"] == "ok"


async def test_a_full_redis_is_known_before_it_refuses(own_redis: Any) -> None:
    """From 90 % of maxmemory on, or at the bound of the stream, events are not given to Redis any more."""
    link = RedisLink("keeping")
    link.start(RedisAddress.parse(own_redis.dsn))
    await link.ready(5)
    watch = RedisPersistence(link, 10)
    await watch.look()
    assert watch.full == ""
    await link.command("CONFIG", "SET", "maxmemory", watch.used_bytes + 40_000_000)
    for number in range(36):
        await link.command("SET", f"pad{number}", "x" * 1_000_000)
    await watch.look()
    assert "(maxmemory)" in watch.full
    assert "events go to the journal" in watch.health()["reason"]
    await link.command("DEL", *[f"pad{number}" for number in range(36)])
    await watch.look()
    assert watch.full == ""
    watch.take(37_000_000)
    assert "Redis is filling up" in watch.full
    await watch.look()
    assert watch.full == ""
    await link.command("CONFIG", "SET", "maxmemory", 0)
    await asyncio.gather(*(link.ask("XADD", "events", "*", "event", "{}") for _ in range(10)))
    await watch.look()
    assert "10 events that listeners have not acknowledged" in watch.full
    await link.command("DEL", "events")
    await link.command("SET", "events", "no stream")
    await watch.look()
    assert watch.full == ""
    await link.close()


async def test_a_flood_is_looked_at_sooner(own_redis: Any) -> None:
    """What is remembered of a flood, and what Redis gets of it, is bounded by bytes and not by the clock alone."""
    link = RedisLink("keeping")
    link.start(RedisAddress.parse(own_redis.dsn))
    await link.ready(5)
    heard: list[Any] = []

    class Watcher:
        def redis_wrote(self, left: int) -> None:
            heard.append(left)

        def redis_lost(self, reason: str) -> None:
            heard.append(reason)

    watch = RedisPersistence(link, 1000)
    watch.tell(Watcher())
    running = asyncio.create_task(watch.run())
    begun = time.monotonic()
    while len(heard) < 20:
        watch.take(9 * 1024 * 1024)
        await asyncio.sleep(0.01)
        assert time.monotonic() < begun + 5
    assert heard == [0] * len(heard)
    running.cancel()
    await link.close()


class Refusing:
    """A Redis whose user may not ask."""

    def ask(self, *parts: Any, timeout: float = 5.0) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(RedisReplyError("NOPERM User front has no permissions to run the 'info' command"))
        return future

    def send(self, *parts: Any, on_reply: Any, timeout: float = 5.0) -> None:
        on_reply(RedisReplyError("NOPERM User front has no permissions to run the 'info' command"))


class Answering(Refusing):
    """A Redis whose reply to INFO comes when it is let out."""

    def send(self, *parts: Any, on_reply: Any, timeout: float = 5.0) -> None:
        self.answer_info = on_reply


async def test_what_is_written_is_told_before_what_was_confirmed_after_it() -> None:
    """Replies come many in one read: an event that Redis confirmed after INFO is not among those that INFO counts."""
    told: list[Any] = []

    class Watcher:
        def redis_wrote(self, left: int) -> None:
            told.append(left)

        def redis_lost(self, reason: str) -> None:
            told.append(reason)

    link = Answering()
    watch = RedisPersistence(link, 1000)
    watch.tell(Watcher())
    looking = asyncio.create_task(watch.look())
    await asyncio.sleep(0)
    link.answer_info(b"run_id:1\r\naof_buffer_length:7\r\n")
    told.append("the reply after it")
    await looking
    assert told == [7, "the reply after it"]


async def test_a_user_that_may_not_ask_is_told_and_hurts_nothing() -> None:
    """Health says so; what was confirmed is not kept for ever, and not taken for lost."""
    heard: list[Any] = []

    class Watcher:
        def redis_wrote(self, left: int) -> None:
            heard.append(left)

        def redis_lost(self, reason: str) -> None:
            heard.append(reason)

    watch = RedisPersistence(Refusing(), 1000)
    watch.tell(Watcher())
    await watch._look_if_connected()
    assert heard == [0]
    assert watch.health()["status"] == "degraded"
    assert "bin/setup" in watch.health()["hint"]


def test_each_refusal_of_redis_has_a_remedy() -> None:
    """What to do depends on why Redis takes nothing; an unknown reason leads to Redis' log."""
    assert "band_redis_maxmemory" in remedy("OOM command not allowed when used memory > 'maxmemory'.")
    assert "disk of Redis' volume" in remedy("MISCONF Errors writing to the AOF file: No space left on device")
    assert "REPLICAOF NO ONE" in remedy("READONLY You can't write against a read only replica.")
    assert "docker logs redis" in remedy("There is no connection to Redis at redis:6379: refused")


async def test_front_shows_it_in_its_health(own_redis: Any, start_front: Any, speak: Any) -> None:
    """A Redis that evicts makes front degraded, with the setting to change."""
    peers = speak(own_redis.dsn)
    await peers.redis.config_set("maxmemory", "100mb")
    await peers.redis.config_set("maxmemory-policy", "allkeys-lru")
    front = start_front(own_redis.dsn)
    async with aiohttp.ClientSession() as session, asyncio.timeout(8):
        while True:
            async with session.get(f"{front.url}/_band/health") as answer:
                check = (await answer.json())["checks"]["redis_keeps"]
            if check["status"] == "degraded":
                break
            await asyncio.sleep(0.1)
    assert "maxmemory-policy allkeys-lru" in check["reason"]
    assert "noeviction" in check["hint"]
    assert "code" not in check
    assert "redis_may_lose_events" in front.log.read_text()
