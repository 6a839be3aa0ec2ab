"""The measuring ends of bin/bench enrich; each prints one JSON object.

``enrich_peers.py library NAME`` and ``in_process NAME`` call a library's, a service's function in a loop;
``service NAME REDIS_PORT PID`` calls the service in batches; ``batches|singles REDIS_PORT PID…`` sends each event to
three services.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import importlib
import itertools
import json
import os
import random
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import uvloop
from servers import cpu_seconds

from geo.address import Address, check_address

ADDRESSES = 200_000
USER_AGENTS = 160_000
NEW_SHARE = 0.06
BATCH = 500
WINDOW = 4
IN_FLIGHT = BATCH * WINDOW
KNOWN = 1_000
"""Values whose answers every service remembers."""
SINGLES = 20_000
"""Events that are sent one a message: enough to measure, and no endless wait."""
DATA = Path(os.environ.get("BAND_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
CORPUS = DATA / "ua-corpus" / "ua_10k.txt"
NAMES = frozenset({"mmgeo", "sxgeo", "uaparser"})


def addresses() -> list[str]:
    """Return random public IPv4 addresses, the same ones in each process."""
    draw = random.Random(1)
    found = []
    while len(found) < ADDRESSES:
        text = ".".join(map(str, draw.getrandbits(32).to_bytes(4, "big")))
        if isinstance(check_address(text), Address):
            found.append(text)
    return found


def user_agents() -> list[str]:
    """Return lines of the corpus of which 94 in 100 came before, the common ones more often."""
    draw = random.Random(2)
    corpus = CORPUS.read_text(encoding="utf-8").splitlines() if CORPUS.exists() else made_user_agents()
    draw.shuffle(corpus)
    new = iter(corpus)
    seen: list[str] = [next(new)]
    found = []
    for _ in range(USER_AGENTS):
        if draw.random() < NEW_SHARE and (line := next(new, None)) is not None:
            seen.append(line)
        else:
            line = seen[int(len(seen) * draw.random() ** 3)]
        found.append(line)
    return found


def made_user_agents() -> list[str]:
    """Return 10,000 lines made by rule, where the corpus is not at hand: phones and computers of many versions."""
    draw = random.Random(3)
    webkit = "AppleWebKit/537.36 (KHTML, like Gecko)"
    made: set[str] = set()
    while len(made) < 10_000:
        chrome = f"Chrome/{draw.randint(60, 140)}.0.{draw.randint(1000, 7000)}.{draw.randint(0, 200)}"
        android = f"Linux; Android {draw.randint(7, 15)}; SM-{draw.choice('AGSM')}{draw.randint(100, 999)}B"
        system = draw.choice(["Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", android, android])
        made.add(f"Mozilla/5.0 ({system}) {webkit} {chrome}{' Mobile' * ('Android' in system)} Safari/537.36")
    return sorted(made)


def params_of(name: str) -> list[dict[str, Any]]:
    """Return the arguments of each call of one service, as front would send them."""
    if name == "uaparser":
        return [{"ua": ua} for ua in user_agents()]
    return [{"ip": ip} for ip in addresses()]


def figures(count: int, seconds: float, cpu: float) -> dict[str, float]:
    """Return what is printed."""
    return {"count": count, "per_s": count / seconds, "per_cpu_s": count / cpu}


# --- one service


async def library(name: str) -> dict[str, float]:
    """Call what the service works with, alone: no check of the address, no names filled, no answer written."""
    call: Callable[[Any], Any]
    if name == "mmgeo":
        import maxminddb

        call, given = maxminddb.open_database(f"{os.environ['DATA_DIR']}/city.mmdb").get, addresses()
    elif name == "uaparser":
        import ua_parser  # with its own cache of 2,000 lines

        call, given = ua_parser.parse, user_agents()
    else:
        from sxgeo.reader import open_sypex

        reader = open_sypex(Path(os.environ["DATA_DIR"]) / "sxgeo.dat").value
        record = functools.lru_cache(8192)(reader.record)
        find = reader.blocks.find
        call = lambda text: (key := find(int.from_bytes(socket.inet_aton(text), "big"))) and record(key)  # noqa: E731
        given = addresses()
    begun, cpu = time.perf_counter(), time.process_time()
    for value in given:
        call(value)
    return figures(len(given), time.perf_counter() - begun, time.process_time() - cpu)


async def in_process(name: str) -> dict[str, float]:
    """Call the function that answers, on this core alone; then what takes how long, for new values and known ones."""
    call: Callable[[str], Any]
    if name == "uaparser":
        call = importlib.import_module("uaparser.main").parser.answer
        given = user_agents()
    else:
        module = importlib.import_module(f"{name}.service")
        if not await module.dataset.open():
            raise SystemExit(f"{name} has no database: {module.dataset.health()}")
        call = module.locator.answer
        given = addresses()
    begun, cpu = time.perf_counter(), time.process_time()
    for value in given:
        call(value)
    result = figures(len(given), time.perf_counter() - begun, time.process_time() - cpu)
    return {**result, "new_us": new_us(call, name), "known_us": each_us(call, given[-KNOWN:] * 10)}


def each_us(call: Callable[[str], Any], given: list[str]) -> float:
    """Return the microseconds of CPU that each call takes."""
    cpu = time.process_time()
    for value in given:
        call(value)
    return (time.process_time() - cpu) / len(given) * 1e6


def new_us(call: Callable[[str], Any], name: str) -> float:
    """Return the same for values that were never asked before, by a service that has worked for a while."""
    draw = random.Random(4)
    if name == "uaparser":
        # Other texts that say the same: no cache has them. Different lines, as new ones are; common ones are quicker.
        lines = list(dict.fromkeys(user_agents()))[-KNOWN:]
        return each_us(call, [f"{line} Build/{number}" for number, line in enumerate(lines)])
    wanted = [".".join(map(str, draw.getrandbits(32).to_bytes(4, "big"))) for _ in range(KNOWN)]
    return each_us(call, wanted)


async def service(name: str, port: str, pid: str) -> dict[str, float]:
    """Call a service with many items a message, a few messages in flight."""
    caller = await start_caller(int(port), name)
    items = params_of(name)
    batches = iter([items[start : start + BATCH] for start in range(0, len(items), BATCH)])

    async def work() -> None:
        for batch in batches:
            answers = await caller.rpc.call_many(name, "enrich", batch, timeout=30)
            assert all(type(answer) is dict for answer in answers)

    begun, cpu = time.perf_counter(), cpu_seconds(int(pid))
    await asyncio.gather(*(work() for _ in range(WINDOW)))
    result = figures(len(items), time.perf_counter() - begun, cpu_seconds(int(pid)) - cpu)
    await caller.stop()
    return result


# --- three services


async def batches(port: str, *pids: str) -> dict[str, float]:
    """Send events as front does: what is asked in one turn of the loop leaves as one message a service."""
    caller = await start_caller(int(port), *NAMES)

    async def ask(params: dict[str, Any]) -> None:
        answers = await caller.rpc.scatter("enrich", "enrich", params, expect=NAMES, timeout=30, raw=True)
        assert len(answers.results) == len(NAMES), answers

    await flood(ask, warm_up(), pids)
    result = await flood(ask, events(USER_AGENTS), pids)
    await caller.stop()
    return result


async def singles(port: str, *pids: str) -> dict[str, float]:
    """Send events as the original did: one message on the channel `enrich` each, one message from each service back."""
    from redis.asyncio import BlockingConnectionPool, Redis

    redis = Redis(connection_pool=BlockingConnectionPool(port=int(port), max_connections=50, timeout=None))
    replies = redis.pubsub(ignore_subscribe_messages=True)
    await replies.subscribe("front")
    waiting: dict[str, asyncio.Future[Any]] = {}
    got: dict[str, int] = collections.Counter()
    numbers = itertools.count()

    async def read() -> None:
        async for message in replies.listen():
            number = json.loads(message["data"])["id"]
            got[number] += 1
            if got[number] == len(NAMES):
                waiting.pop(number).set_result(None)

    async def ask(params: dict[str, Any]) -> None:
        number = str(next(numbers))
        future = waiting[number] = asyncio.get_running_loop().create_future()
        request = {"jsonrpc": "2.0", "from": "front", "to": "enrich", "id": number, "method": "enrich:enrich:front"}
        await redis.publish("enrich", json.dumps({**request, "params": params}))
        await future

    while (await redis.pubsub_numsub("enrich"))[0][1] < len(NAMES):
        await asyncio.sleep(0.05)
    reader = asyncio.create_task(read())
    await flood(ask, warm_up()[: SINGLES // 2], pids)
    result = await flood(ask, events(SINGLES), pids)
    reader.cancel()
    return result


def events(count: int) -> list[dict[str, Any]]:
    """Return the arguments of so many events."""
    return [event(ip, ua) for ip, ua in itertools.islice(zip(addresses(), user_agents(), strict=False), count)]


def warm_up() -> list[dict[str, Any]]:
    """Return events with addresses that :func:`events` does not have, all of one User-Agent.

    The first seconds of a service's life, in which it reads each record for the first time, are not counted.
    """
    return [event(ip, "warm-up") for ip in addresses()[USER_AGENTS:]]


def event(ip: str, ua: str) -> dict[str, Any]:
    """Return the arguments of one event, as front sends them to all three."""
    return {"key": "in.gen.track.page", "ip": ip, "ua": ua}


async def flood(
    ask: Callable[[dict[str, Any]], Awaitable[None]], given: list[dict[str, Any]], pids: tuple[str, ...]
) -> dict[str, float]:
    """Ask for every event with so many in flight; CPU is that of everybody: client, services, Redis."""
    left: Iterator[dict[str, Any]] = iter(given)

    async def work() -> None:
        for params in left:
            await ask(params)

    def cpu_of_all() -> float:
        return time.process_time() + sum(cpu_seconds(int(pid)) for pid in pids)

    begun, cpu = time.perf_counter(), cpu_of_all()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return figures(len(given), time.perf_counter() - begun, cpu_of_all() - cpu)


async def start_caller(port: int, *names: str) -> Any:
    """Return a band service in this process that knows the others."""
    from band.service.config import ServiceConfig
    from band.service.lifecycle import Service

    caller = Service()
    await caller.start(ServiceConfig(name="bench", host="127.0.0.1", port=0, redis_dsn=f"redis://127.0.0.1:{port}"))
    await caller.link.ready(5)
    while not all(caller.presence.knows(name) for name in names):
        await asyncio.sleep(0.05)
    return caller


def main() -> None:
    from band.telemetry.logs import configure_logs

    configure_logs("ERROR")
    role, *argv = sys.argv[1:]
    sys.stdout.write(json.dumps(uvloop.run(globals()[role](*argv))) + "\n")


if __name__ == "__main__":
    main()
