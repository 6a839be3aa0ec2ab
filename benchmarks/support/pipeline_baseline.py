"""Serve as the baseline of the pipeline's benchmark: aiohttp and redis-py as their tutorials show them.

One XADD a request, awaited, then the answer: as durable as ours, and nothing else of what a collector does.
"""

from __future__ import annotations

import json
import os

import redis.asyncio as redis
from aiohttp import web

store = redis.Redis.from_url(os.environ["REDIS_DSN"])


async def track(request: web.Request) -> web.Response:
    event = await request.json()
    await store.xadd("baseline", {"event": json.dumps(event)}, maxlen=100_000, approximate=True)
    return web.json_response({"id": "1"})


if __name__ == "__main__":
    import uvloop

    app = web.Application()
    app.router.add_post("/{tail:.*}", track)
    uvloop.install()
    web.run_app(app, port=8080, access_log=None, print=None)
