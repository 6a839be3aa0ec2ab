"""Settings, events and waiting for the tests that run send_mixpanel as a whole."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

IMAGE = Path(__file__).resolve().parents[3] / "band_images" / "send_mixpanel"
CANARY = "c4n4ry-t0k3n"
QUICK = {
    "LINGER": "0.05",
    "BACKOFF_FIRST": "0.05",
    "BACKOFF_MOST": "0.1",
    "JITTER_LEAST": "0",
    "JITTER_MOST": "0.01",
    "REFUSED_RETRY": "0.2",
    "MIXPANEL_TIMEOUT": "1",
}


async def until(check: Callable[[], Any], timeout: float = 10) -> None:
    """Wait until `check` says yes."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        said = check()
        if await said if asyncio.iscoroutine(said) else said:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")


def event(number: int, **changes: Any) -> dict[str, Any]:
    now = int(time.time() * 1000)
    return {
        "key": "in.gen.track.page", "channel": "http", "service": "track", "name": "page", "projectId": 17,
        "uid": f"64107485867128{number:05}", "td": {"ip": "2.125.160.216"}, "data": {"n": number},
        "id": str((now << 22) + number), "time": now, **changes,
    }  # fmt: skip
