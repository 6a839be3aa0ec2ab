"""Both ways to start it: alone, and as a service of the platform."""

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

import aiohttp
import pytest

from band import RpcRemoteError, testing
from band.platform import INVALID_PARAMS

IMAGE = Path(__file__).resolve().parents[3] / "band_images" / "mixpanel_double"
EVENT = {"event": "track/page", "properties": {"time": 1_795_468_772, "distinct_id": "u", "$insert_id": "a1"}}
BIG = {**EVENT, "properties": {**EVENT["properties"], "text": "x" * 900_000}}  # type: ignore[dict-item]
AUTH = {"Authorization": "Basic dG9rZW46"}
SETTINGS = {"DOUBLE_TOKENS": "token, other", "DOUBLE_MAX_BODY": "1000000", "DOUBLE_ID_FIELD": "$insert_id"}


async def takes_events_of_programs_only(session: aiohttp.ClientSession) -> None:
    """Events of programs are counted and shown on its page; requests of web pages of other sites are refused."""
    async with session.post("/import", json=[EVENT, BIG], headers=AUTH) as answer:
        assert (answer.status, (await answer.json())["num_records_imported"]) == (200, 2)
    async with session.get("/") as answer:
        assert "track/page" in await answer.text()
    for name in ("mixpanel_double:8080", "demo-mixpanel_double:8080"):
        async with session.post("/import", json=[EVENT], headers={**AUTH, "Host": name}) as answer:
            assert answer.status == 200
    for foreign in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        for path in ("/_double/reset", "/_double/fail", "/import"):
            async with session.post(path, json=[EVENT], headers={**AUTH, **foreign}) as answer:
                assert answer.status == 403
        async with session.get("/_double/events", headers=foreign) as answer:
            assert answer.status == 403
    async with session.get("/", headers={"User-Agent": "Mozilla/5.0"}) as answer:
        assert "track/page" in await answer.text()


async def test_mixpanel_double_starts_alone(tmp_path: Path) -> None:
    """Without REDIS_DSN it is a plain web server that needs no settings."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOST": "127.0.0.1", "PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mixpanel_double", cwd=tmp_path, env=env, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            await _reached(session)
            await takes_events_of_programs_only(session)
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 12)


async def test_mixpanel_double_is_a_service() -> None:
    """With its image's settings: tokens, size, name of the id; health; what it refuses is no error of its own."""
    with testing.imported("mixpanel_double.main", IMAGE, **SETTINGS) as main:
        async with (
            testing.running(subject=main.service, name="mixpanel_double") as bench,
            aiohttp.ClientSession(f"http://127.0.0.1:{bench.service.port}") as session,
        ):
            await takes_events_of_programs_only(session)
            assert (await bench.call("__status"))["health"]["checks"]["counted"] == {"status": "ok", "unique": 1}
            async with session.post("/import", json=[EVENT], headers={"Authorization": "Basic eDo="}) as answer:
                assert answer.status == 401
            async with session.post("/_double/settings", json={}) as answer:
                facts = await answer.json()
            assert facts == {"closed": True, "max_body": 1_000_000, "id_field": "$insert_id"}
            for path, status in (("fail?status=abc", 400), ("fail?what=1", 400), ("events?limit=abc", 422)):
                async with session.get(f"/{path}") as answer:
                    assert (answer.status, "Server error" in await answer.text()) == (status, False)


async def test_mixpanel_double_has_methods() -> None:
    """What the director calls: figures, the newest events, faults to order."""
    with testing.imported("mixpanel_double.main", IMAGE) as main:
        async with testing.running(subject=main.service, name="mixpanel_double") as bench:
            assert (await bench.call("stats"))["unique"] == 0
            assert await bench.call("events", limit=5) == {"events": []}
            assert (await bench.call("fail", status="429"))["orders"][0]["status"] == 429
            with pytest.raises(RpcRemoteError, match="faults are") as refused:
                await bench.call("fail", what=1)
    assert refused.value.code == INVALID_PARAMS


async def _reached(session: aiohttp.ClientSession) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            async with session.get("/"):
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.05)
    raise AssertionError("it does not answer")
