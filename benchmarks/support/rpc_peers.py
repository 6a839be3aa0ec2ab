"""The two ends of a call, for each system that bin/bench rpc compares.

``rpc_peers.py server SYSTEM PORT`` answers; ``rpc_peers.py client SYSTEM PORT WINDOW SECONDS SERVER_PID BROKER_PID``
calls with WINDOW calls in flight and prints one JSON object: calls a second, p50 and p99 in microseconds, and the CPU
seconds a second that client, server and broker used.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import uvloop
from servers import cpu_seconds

UA = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36"
)
PARAMS = {"key": "in.gen.track.page", "ip": "2.125.160.216", "ua": UA}
WARM_UP = 0.5
BATCH = 100

Call = Callable[[], Awaitable[Any]]


async def measure(call: Call, window: int, seconds: float) -> dict[str, float]:
    """Keep ``window`` calls in flight for ``seconds`` after a warm-up; returns the figures."""
    clock = time.perf_counter
    counted_from = clock() + WARM_UP
    until = counted_from + seconds
    took: list[float] = []

    async def worker() -> None:
        while (begun := clock()) < until:
            await call()
            if begun >= counted_from:
                took.append(clock() - begun)

    before: list[float] = []

    async def note_cpu() -> None:
        await asyncio.sleep(WARM_UP)
        before[:] = cpu_of_sides()

    await asyncio.gather(note_cpu(), *(worker() for _ in range(window)))
    client, server, broker = (now - then for now, then in zip(cpu_of_sides(), before, strict=True))
    took.sort()
    return {
        "calls": len(took),
        "per_s": len(took) / seconds,
        "p50_us": took[len(took) // 2] * 1e6,
        "p99_us": took[int(len(took) * 0.99)] * 1e6,
        "client_cpu": client / seconds,
        "server_cpu": server / seconds,
        "broker_cpu": broker / seconds,
    }


def cpu_of_sides() -> list[float]:
    """Return the CPU seconds of this process, the server and the broker so far."""
    return [time.process_time(), *(cpu_seconds(int(pid)) for pid in sys.argv[6:8])]


# --- ours


def named(name: str, port: int) -> Any:
    from band.service.config import ServiceConfig

    return ServiceConfig(name=name, host="127.0.0.1", port=0, redis_dsn=f"redis://127.0.0.1:{port}")


@contextlib.asynccontextmanager
async def calling(port: int) -> AsyncIterator[Any]:
    """Run a service that knows the server."""
    from band.service.lifecycle import Service

    service = Service()
    await service.start(named("bench", port))
    await service.link.ready(5)
    while not service.presence.knows("echo"):
        await asyncio.sleep(0.05)
    yield service
    await service.stop()


async def ours_server(port: int) -> None:
    from band.service.lifecycle import Service

    service = Service()

    @service.expose()
    async def echo(**params: Any) -> Any:
        return params

    await service.run(named("echo", port))


async def ours_client(port: int, window: int, seconds: float) -> dict[str, float]:
    async with calling(port) as service:

        async def call() -> None:
            assert (await service.rpc.call("echo", "echo", PARAMS))["ip"] == PARAMS["ip"]

        return await measure(call, window, seconds)


ours_batch_server = ours_server


async def ours_batch_client(port: int, window: int, seconds: float) -> dict[str, float]:
    items = [PARAMS] * BATCH
    async with calling(port) as service:

        async def call() -> None:
            assert (await service.rpc.call_many("echo", "echo", items))[-1]["ip"] == PARAMS["ip"]

        figures = await measure(call, max(1, window // BATCH), seconds)
    return {**figures, "calls": figures["calls"] * BATCH, "per_s": figures["per_s"] * BATCH}


# --- an enricher, asked as front asks: what is asked in one turn of the loop leaves as one message


async def enricher_server(port: int) -> None:
    from band.service.lifecycle import Service

    service = Service()

    @service.expose.enricher(keys=["in.gen.track"], props={"ua": "td.ua"})
    def enrich(ua: Any, **_params: Any) -> Any:
        return dict(word.split("/") for word in ua.split(" ") if "/" in word)

    await service.run(named("echo", port))


async def enricher_client(port: int, window: int, seconds: float) -> dict[str, float]:
    async with calling(port) as service:
        found = await service.rpc.scatter("enrich", "enrich", PARAMS, expect={"echo"}, timeout=5)
        assert found.results["echo"]["Chrome"] == "120.0.0.0", found

        async def call() -> None:
            found = await service.rpc.scatter("enrich", "enrich", PARAMS, expect={"echo"}, timeout=5, raw=True)
            assert len(found.results) == 1

        return await measure(call, window, seconds)


# --- a naive loop on redis-py: what one writes first


async def naive_server(port: int) -> None:
    from redis.asyncio import Redis

    redis = Redis(port=port)
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe("echo")
    async for message in pubsub.listen():
        request = json.loads(message["data"])
        reply = {"jsonrpc": "2.0", "result": request["params"], "id": request["id"]}
        await redis.publish(request["from"], json.dumps(reply))


async def naive_client(port: int, window: int, seconds: float) -> dict[str, float]:
    from redis.asyncio import BlockingConnectionPool, Redis

    redis = Redis(connection_pool=BlockingConnectionPool(port=port, max_connections=50, timeout=None))
    pubsub = redis.pubsub(ignore_subscribe_messages=True)
    await pubsub.subscribe("bench")
    waiting: dict[int, asyncio.Future[Any]] = {}
    numbers = iter(range(1 << 62))

    async def read() -> None:
        async for message in pubsub.listen():
            reply = json.loads(message["data"])
            waiting.pop(reply["id"]).set_result(reply["result"])

    async def call() -> None:
        number = next(numbers)
        future = waiting[number] = asyncio.get_running_loop().create_future()
        request = {"jsonrpc": "2.0", "method": "echo", "params": PARAMS, "id": number, "from": "bench"}
        await redis.publish("echo", json.dumps(request))
        assert (await asyncio.wait_for(future, 5))["ip"] == PARAMS["ip"]

    while not await redis.pubsub_numsub("echo") or not (await redis.pubsub_numsub("echo"))[0][1]:
        await asyncio.sleep(0.05)
    reader = asyncio.create_task(read())
    figures = await measure(call, window, seconds)
    reader.cancel()
    return figures


# --- NATS request/reply with nats-py


async def nats_server(port: int) -> None:
    import nats

    connection = await nats.connect(f"nats://127.0.0.1:{port}")

    async def answer(message: Any) -> None:
        request = json.loads(message.data)
        await message.respond(json.dumps({"jsonrpc": "2.0", "result": request["params"], "id": 1}).encode())

    await connection.subscribe("echo", cb=answer)
    await asyncio.Event().wait()


async def nats_client(port: int, window: int, seconds: float) -> dict[str, float]:
    import nats

    connection = await nats.connect(f"nats://127.0.0.1:{port}")

    async def call() -> None:
        request = {"jsonrpc": "2.0", "method": "echo", "params": PARAMS}
        reply = await connection.request("echo", json.dumps(request).encode(), timeout=5)
        assert json.loads(reply.data)["result"]["ip"] == PARAMS["ip"]

    while True:
        with contextlib.suppress(Exception):
            await call()
            break
        await asyncio.sleep(0.05)
    return await measure(call, window, seconds)


def main() -> None:
    role, system, port, *rest = sys.argv[1:]
    peer = globals()[f"{system}_{role}"]
    if role == "server":
        uvloop.run(peer(int(port)))
    else:
        from band.telemetry.logs import configure_logs

        configure_logs("ERROR")
        sys.stdout.write(json.dumps(uvloop.run(peer(int(port), int(rest[0]), float(rest[1])))) + "\n")


if __name__ == "__main__":
    main()
