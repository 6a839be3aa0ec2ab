"""Both ways to start it: alone, and as a service of the platform."""

import asyncio
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CONFIG = Path(__file__).resolve().parents[3] / "band_images" / "mixpanel_double" / "config.yaml"
EVENT = {"event": "track/page", "properties": {"time": 1_795_468_772, "distinct_id": "u", "$insert_id": "a1"}}


@pytest.mark.parametrize("extra", [{}, {"REDIS_DSN": "redis://127.0.0.1:1"}])
async def test_mixpanel_double_starts(tmp_path: Path, extra: dict[str, str]) -> None:
    """It takes events of programs, not of web pages; shows them on its page; as a service it has health too."""
    shutil.copy(CONFIG, tmp_path / "config.yaml")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOST": "127.0.0.1", "PORT": str(port)}
    env |= (
        {"DOUBLE_TOKENS": "token, other", "DOUBLE_MAX_BODY": "1000000", "DOUBLE_ID_FIELD": "$insert_id"}
        if extra
        else {}
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mixpanel_double", cwd=tmp_path, env={**env, **extra}, stdout=asyncio.subprocess.DEVNULL
    )
    base = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:
            await _reached(session, base)
            big = {**EVENT, "properties": {**EVENT["properties"], "text": "x" * 900_000}}  # type: ignore[dict-item]
            headers = {"Authorization": "Basic dG9rZW46"}
            async with session.post(f"{base}/import", json=[EVENT, big], headers=headers) as answer:
                assert (answer.status, (await answer.json())["num_records_imported"]) == (200, 2)
            async with session.get(base) as answer:
                assert "track/page" in await answer.text()
            for name in ("mixpanel_double:8080", "demo-mixpanel_double:8080"):
                async with session.post(f"{base}/import", json=[EVENT], headers={**headers, "Host": name}) as answer:
                    assert answer.status == 200
            for foreign in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
                for path in ("_double/reset", "_double/fail", "import"):
                    async with session.post(f"{base}/{path}", json=[EVENT], headers={**headers, **foreign}) as answer:
                        assert answer.status == 403
                async with session.get(f"{base}/_double/events", headers=foreign) as answer:
                    assert answer.status == 403
            async with session.get(base, headers={"User-Agent": "Mozilla/5.0"}) as answer:
                assert "track/page" in await answer.text()
            if extra:
                async with session.get(f"{base}/health") as answer:
                    assert (await answer.json())["checks"]["counted"] == {"status": "ok", "unique": 1}
                async with session.post(
                    f"{base}/import", json=[EVENT], headers={"Authorization": "Basic eDo="}
                ) as answer:
                    assert answer.status == 401
                async with session.post(f"{base}/_double/settings", json={}) as answer:
                    facts = await answer.json()
                assert facts == {"closed": True, "max_body": 1_000_000, "id_field": "$insert_id"}
                async with session.get(f"{base}/fail", params={"status": "429"}) as answer:
                    assert (await answer.json())["orders"][0]["status"] == 429
                for path, status in (("fail?status=abc", 400), ("fail?what=1", 400), ("events?limit=abc", 422)):
                    async with session.get(f"{base}/{path}") as answer:
                        assert (answer.status, "Server error" in await answer.text()) == (status, False)
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 12)


async def _reached(session: Any, base: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            async with session.get(base):
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.05)
    raise AssertionError("it does not answer")
