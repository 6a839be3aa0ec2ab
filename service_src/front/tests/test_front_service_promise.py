"""The promise of a 200: stored first. And what front does when Redis, or front itself, goes."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

RAW = "2.125.160.216"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


async def status_of(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as answer:
        await answer.read()
        return answer.status


async def test_without_redis_events_are_refused_and_taken_again_after_it(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any
) -> None:
    """503 with Retry-After and a reason, health failing with the same, no restart needed."""
    front = start_front(own_redis.dsn)
    url = f"{front.url}/track/page"
    assert await status_of(session, url) == 200
    own_redis.stop()
    await asyncio.sleep(0.2)
    async with session.post(url, data="a=1", headers={"Origin": "https://a.example"}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        refusal = await answer.json()
        assert refusal["message"] == "Service Unavailable"
        assert "127.0.0.1" not in refusal["reason"]
        assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
    async with session.get(f"{front.url}/band/track/page") as answer:
        assert (answer.status, (await answer.json(content_type=None))["native__"]) == (503, True)
        assert answer.headers["Retry-After"] == "1"
    async with session.get(f"{front.url}/_band/health") as answer:
        assert answer.status == 503
        check = (await answer.json())["checks"]["journal"]
    assert check["status"] == "failing"
    assert "events are refused with 503" in check["reason"]
    assert "docker logs redis" in check["hint"]
    own_redis.start()
    deadline = time.monotonic() + 8
    while await status_of(session, url) != 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    peers = speak(own_redis.dsn)
    assert await peers.redis.xlen("events") == 1


async def test_a_redis_that_refuses_to_write_is_no_success(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any
) -> None:
    """Out of memory: 503, nothing broadcast; a wrong type under the stream's name likewise."""
    front = start_front(own_redis.dsn)
    peers = speak(own_redis.dsn)
    broadcast = await peers.listener()
    await peers.redis.config_set("maxmemory", "1")
    assert await status_of(session, f"{front.url}/track/page") == 503
    await peers.redis.config_set("maxmemory", "0")
    await asyncio.sleep(0.7)  # front looks at Redis' memory twice a second
    await peers.redis.set("events", "not a stream")
    assert await status_of(session, f"{front.url}/track/page") == 503
    assert broadcast.empty()
    await peers.redis.delete("events")
    assert await status_of(session, f"{front.url}/track/page") == 200
    assert json.loads(await asyncio.wait_for(broadcast.get(), 2))["method"] == "broadcast:broadcast:front"


async def test_a_hanging_redis_is_an_answer_in_time(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any
) -> None:
    """A stopped Redis: 503 soon after the limit, not a hanging client; then all is well again."""
    front = start_front(own_redis.dsn, ACCEPT_TIMEOUT_MS="500", ENRICH_TIMEOUT_MS="50")
    url = f"{front.url}/track/page"
    assert await status_of(session, url) == 200
    own_redis.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert await status_of(session, url) == 503
    assert time.monotonic() - began < 1.5
    own_redis.process.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 8
    while await status_of(session, url) != 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_a_stop_lets_requests_in_progress_end(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any
) -> None:
    """SIGTERM while a handler works: its client still gets the answer, the event is kept, the process ends."""
    front = start_front(own_redis.dsn)
    peers = speak(own_redis.dsn)

    async def slowly(_params: Any) -> Any:
        await asyncio.sleep(0.6)
        return {"done": True}

    await peers.service("labsvc", slowly)
    await peers.register({"method": "slow", "role": "handler", "options": {"timeout": 3000}, "service": "labsvc"})
    asking = asyncio.create_task(session.get(f"{front.url}/labsvc/slow"))
    await asyncio.sleep(0.3)
    front.process.send_signal(signal.SIGTERM)
    async with await asking as answer:
        assert (answer.status, await answer.json()) == (200, {"done": True})
    assert await asyncio.to_thread(front.process.wait, 10) == 0
    assert await peers.redis.xlen("events") == 1


async def everything_stored(peers: Any) -> str:
    entries = await peers.redis.xrange("events")
    return "".join(fields[b"event"].decode() for _, fields in entries)


@pytest.mark.parametrize("mode", ["truncate", "hash", "raw"])
async def test_the_raw_address_is_kept_only_when_asked_for(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any, mode: str
) -> None:
    """Enrichers see it, the stream, the broadcast, handlers and the log do not, unless ip_privacy is raw."""
    front = start_front(own_redis.dsn, IP_PRIVACY=mode, IP_HASH_KEY="0123456789abcdef", LOG_LEVEL="DEBUG")
    peers = speak(own_redis.dsn)
    broadcast = await peers.listener()
    geo = await peers.service("mmgeo", lambda _params: {"city": "Boxford"}, enricher=True)
    handled = await peers.service("labsvc", lambda _params: {})
    await peers.register(
        {
            "method": "enrich",
            "role": "enricher",
            "options": {"keys": ["*"], "props": {"ip": "td.ip"}},
            "service": "mmgeo",
        },
        {"method": "do", "role": "handler", "options": {}, "service": "labsvc"},
    )
    for path in ("/track/page", "/labsvc/do"):
        async with session.get(f"{front.url}{path}", headers={"X-Real-IP": RAW}) as answer:
            assert answer.status == 200
    assert [request["params"]["ip"] for request in geo] == [RAW, RAW]
    seen = await everything_stored(peers) + str(handled) + "".join([(await broadcast.get()).decode() for _ in range(2)])
    assert (RAW in seen) is (mode == "raw")
    assert "8063" in seen or "fpid" in seen
    assert RAW not in front.log.read_text()
    kept = (await peers.newest())["td"]["ip"]
    assert {"truncate": kept == "2.125.160.0", "hash": len(kept) == 32, "raw": kept == RAW}[mode]


async def test_at_the_bound_of_the_stream_events_are_refused_not_dropped(
    session: aiohttp.ClientSession, own_redis: Any, start_front: Any, speak: Any
) -> None:
    """A listener that reads nothing loses nothing: at EVENTS_MAXLEN the answer is 503; when it reads, 200 again."""
    front = start_front(own_redis.dsn, EVENTS_MAXLEN="1000", STORED="no")
    peers = speak(own_redis.dsn)
    await peers.redis.xgroup_create("events", "slow", "0", mkstream=True)

    async def send() -> tuple[int, str]:
        async with session.get(f"{front.url}/track/page") as answer:
            return answer.status, (await answer.json(content_type=None)).get("reason", "")

    accepted, refusals = 0, []
    async with asyncio.timeout(20):
        while len(refusals) < 10:
            for status, reason in await asyncio.gather(*(send() for _ in range(20))):
                accepted += status == 200
                refusals += [reason] if status != 200 else []
    assert "events that listeners have not acknowledged (EVENTS_MAXLEN)" in refusals[-1]
    assert await peers.redis.xlen("events") == accepted >= 1000
    (_, entries) = (await peers.redis.xreadgroup("slow", "c", {"events": ">"}, count=accepted + 1))[0]
    assert len(entries) == accepted
    await peers.redis.xack("events", "slow", *[entry for entry, _ in entries])
    deadline = time.monotonic() + 5
    while (await send())[0] != 200:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert await peers.redis.xlen("events") <= 600


def test_settings_that_contradict_themselves_end_the_start(own_redis: Any, start_front: Any) -> None:
    """The process ends at once and says all that is wrong, without the secrets."""
    with pytest.raises(RuntimeError) as ended:
        start_front(own_redis.dsn, IP_PRIVACY="hash", IP_HASH_KEY="sesame", DOMAIN="http://x/")
    text = str(ended.value)
    assert "IP_HASH_KEY" in text
    assert "is not a host name" in text
    assert "sesame" not in text
    assert "Traceback" not in text
