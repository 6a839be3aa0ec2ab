"""What the director sees of Redis itself: whether it takes writes, dead letters, the newest event."""

from __future__ import annotations

from typing import Any

import pytest

from band.errors import RedisReplyError, RedisUnavailable
from band.redis import RedisLink
from director.redis.health import RedisHealth


class Refusing:
    """A Redis that answers every command with one error, or is not there."""

    connected = True
    last_error = "redis://:canary@redis:6379 refused"

    def __init__(self, error: Exception) -> None:
        self.error: Exception = error

    async def command(self, *_words: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("MISCONF Redis is configured to save RDB snapshots", "free disk space"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "band_redis_maxmemory"),
        ("READONLY You can't write against a read only replica.", "REDIS_DSN has to name the primary"),
        ("NOPERM this user has no permissions", "run bin/setup again"),
        ("NOREPLICAS Not enough good replicas to write.", "GET /logs/redis shows its log"),
    ],
)
async def test_a_redis_that_refuses_writes_is_failing_with_what_to_do(error: str, advice: str) -> None:
    """What it said, and what helps; once it takes them again it is ok."""
    found = RedisHealth(Refusing(RedisReplyError(error)), "ns", lambda: ["one"])
    assert (found.status, found.reason) == ("ok", "")
    await found.look()
    assert found.status == "failing"
    assert error in found.reason
    assert advice in found.reason
    found._link.error = RedisUnavailable("gone")  # type: ignore[attr-defined]
    await found.look()
    assert found.status == "failing", "what is not known anew stays"
    found._link.connected = False  # type: ignore[misc]
    assert (found.status, found.reason) == ("unavailable", "redis://:***@redis:6379 refused")


NAMES = ["one", "two", "odd", "none"]


async def test_a_real_redis_is_read(store: RedisLink) -> None:
    """It takes writes; dead letters are counted by service, the newest event tells its time; foreign keys are none."""
    found = RedisHealth(store, "ns", lambda: NAMES)
    await found.look()
    assert (found.status, found.reason, found.dead_letters, found.last_event_at) == (
        "ok",
        "",
        dict.fromkeys(NAMES, 0),
        0.0,
    )
    await store.command("XADD", "dead:one", "*", "event", "{}")
    await store.command("XADD", "dead:one", "*", "event", "{}")
    await store.command("XADD", "dead:two", "*", "event", "{}")
    await store.command("SET", "dead:odd", "a text")
    await store.command("XADD", "events", "1795480000123-0", "event", "{}")
    await found.look()
    assert found.dead_letters == {"one": 2, "two": 1, "odd": 0, "none": 0}
    assert found.last_event_at == 1_795_480_000.123
    await store.command("DEL", "events")
    await store.command("SET", "events", "a text")
    await found.look()
    assert found.last_event_at == 0.0


async def test_a_replica_takes_no_writes(store: RedisLink) -> None:
    """A Redis that was made somebody's replica is not ok, though it answers."""
    found = RedisHealth(store, "ns", list)
    await store.command("REPLICAOF", "127.0.0.1", "1")
    try:
        await found.look()
        assert (found.status, "READONLY" in found.reason) == ("failing", True)
    finally:
        await store.command("REPLICAOF", "NO", "ONE")
    await found.look()
    assert found.status == "ok"


async def test_many_connections_are_told_before_redis_refuses_any(store: RedisLink) -> None:
    """From 80 % of `maxclients` on; with few, or where Redis does not say, there is nothing to tell."""
    found = RedisHealth(store, "ns", list)
    await found.look()
    assert found.crowded == ""
    connected = int((await store.command("INFO", "clients")).split(b"connected_clients:")[1].split(b"\r")[0])
    await store.command("CONFIG", "SET", "maxclients", str(connected))
    try:
        await found.look()
        assert f"{connected} of {connected} connections" in found.crowded
        assert "CLIENT LIST" in found.crowded
        assert found.status == "ok"
    finally:
        await store.command("CONFIG", "SET", "maxclients", "10000")
    found._link = Refusing(RedisReplyError("NOPERM"))  # type: ignore[assignment]
    assert await found._crowd() == ""
