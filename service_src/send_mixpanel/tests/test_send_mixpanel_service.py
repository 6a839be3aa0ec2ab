"""The whole service as a process of its own: real Redis, real band, the double as Mixpanel."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from redis.asyncio import Redis

from mixpanel_double import Double

CONFIG = Path(__file__).resolve().parents[3] / "band_images" / "send_mixpanel" / "config.yaml"
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


class Sender:
    """A running `python -m send_mixpanel`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, redis: Redis) -> None:
        self.process = process
        self.port = port
        self.output = b""
        self._redis = redis

    async def call(self, method: str, **params: Any) -> Any:
        """What the method returns when the director calls it: over RPC."""
        request = {
            "jsonrpc": "2.0", "method": method, "params": params, "id": "1", "from": "lab", "to": "send_mixpanel",
        }  # fmt: skip
        async with self._redis.pubsub() as replies, asyncio.timeout(10):
            await replies.subscribe("lab")
            assert await self._redis.publish("send_mixpanel", json.dumps(request)) == 1, "nobody listens"
            while (told := await replies.get_message(ignore_subscribe_messages=True, timeout=10)) is None:
                pass
        answer = json.loads(told["data"])
        assert "result" in answer, answer["error"]
        return answer["result"]

    async def get(self, path: str, **params: Any) -> Any:
        """The JSON answer of the service's own port."""
        url = f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url, params=params) as answer:
            return await answer.json()

    async def mixpanel_health(self) -> dict[str, Any]:
        """The check called mixpanel."""
        return dict((await self.get("/health"))["checks"]["mixpanel"])

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it; returns the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(how)
        out, _ = await asyncio.wait_for(self.process.communicate(), 15)
        self.output += out or b""
        return self.process.returncode or 0


@pytest.fixture
async def redis(redis_port: int) -> AsyncIterator[Redis]:
    client = Redis(port=redis_port)
    await client.flushall()
    # As after an earlier run: the group stands, so events before the start are delivered too.
    await client.xgroup_create("events", "send_mixpanel", "$", mkstream=True)
    yield client
    await client.aclose()


@pytest.fixture
def sender(redis_port: int, redis: Redis, double_url: str, tmp_path: Path) -> Callable[..., Any]:
    """Starts the service with the given environment and waits until it answers."""
    shutil.copy(CONFIG, tmp_path / "config.yaml")

    @asynccontextmanager
    async def run(**env: str) -> AsyncIterator[Sender]:
        port = _free_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "send_mixpanel", cwd=tmp_path, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path),
                "HOST": "127.0.0.1", "PORT": str(port),
                "REDIS_DSN": f"redis://127.0.0.1:{redis_port}", "MIXPANEL_URL": double_url, "MIXPANEL_TOKEN": CANARY,
                **QUICK, **env,
            },
        )  # fmt: skip
        running = Sender(process, port, redis)
        try:
            await until(lambda: _answers(running))
            yield running
        finally:
            await running.stop(signal.SIGKILL)

    return run


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _answers(running: Sender) -> bool:
    assert running.process.returncode is None, "it ended at once; run it by hand to see why"
    try:
        await running.get("/health")
    except aiohttp.ClientError:
        return False
    return True


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


async def accept(redis: Redis, events: list[dict[str, Any]]) -> list[str]:
    """Append events as front does; returns their ids."""
    pipeline = redis.pipeline()
    for one in events:
        pipeline.xadd("events", {"event": json.dumps(one)})
    await pipeline.execute()
    return [str(one.get("id")) for one in events]


async def acknowledged(redis: Redis) -> bool:
    """Whether nothing waits and nothing is pending."""
    group = (await redis.xinfo_groups("events"))[0]
    return group["pending"] == 0 and not group["lag"]


async def test_send_mixpanel_delivers_each_event_once(sender: Callable[..., Any], redis: Redis, double: Double) -> None:
    """5,000 accepted events arrive, each once, in batches within the limits, and are acknowledged."""
    ids = await accept(redis, [event(number) for number in range(5000)])
    async with sender():
        await until(lambda: len(double.store.ids()) == 5000)
        await until(lambda: acknowledged(redis))
    assert sorted(double.store.ids()) == sorted(ids)
    stats = double.store.stats()
    assert (stats["duplicates"], stats["refused"]) == (0, 0)
    assert stats["biggest_batch"] <= 2000
    assert stats["biggest_body"] <= 2_000_000


async def test_send_mixpanel_killed_before_it_knew(sender: Callable[..., Any], redis: Redis, double: Double) -> None:
    """Killed after Mixpanel stored a batch and before the acknowledgement: it is sent again, and counted once."""
    double.faults.order({"cut_after_store": True, "times": 1})
    ids = await accept(redis, [event(number) for number in range(300)])
    async with sender(BACKOFF_FIRST="60", BACKOFF_MOST="60") as running:
        await until(lambda: len(double.store.ids()) == 300)
        assert not await acknowledged(redis)
        await running.stop(signal.SIGKILL)
    async with sender():
        await until(lambda: acknowledged(redis))
    stats = double.store.stats()
    assert sorted(double.store.ids()) == sorted(ids)
    assert (stats["received"], stats["unique"], stats["duplicates"]) == (600, 300, 300)


@pytest.mark.parametrize(
    "order",
    [
        {"status": 429, "times": 3},
        {"status": 500, "times": 2},
        {"hang": 3},
        {"half_body": True},
        {"cut": True},
        {"status_after_store": 503},
    ],
)
async def test_send_mixpanel_outlives_trouble(
    sender: Callable[..., Any], redis: Redis, double: Double, order: dict[str, Any]
) -> None:
    """Whatever passes at Mixpanel, the events arrive afterwards and count once."""
    double.faults.order(order)
    ids = await accept(redis, [event(number) for number in range(50)])
    async with sender():
        await until(lambda: acknowledged(redis))
    assert sorted(double.store.ids()) == sorted(ids)
    assert double.store.stats()["unique"] == 50


async def test_send_mixpanel_halves_on_413(sender: Callable[..., Any], redis: Redis, double: Double) -> None:
    """A Mixpanel that takes less than its documents say gets smaller batches, and everything."""
    double.max_body = 20_000
    ids = await accept(redis, [event(number) for number in range(400)])
    async with sender():
        await until(lambda: acknowledged(redis))
    assert sorted(double.store.ids()) == sorted(ids)
    assert double.store.requests[413] > 0
    assert double.store.stats()["biggest_body"] <= 20_000


async def test_send_mixpanel_dead_letters(sender: Callable[..., Any], redis: Redis, double: Double) -> None:
    """The bad ones of a batch become dead letters with Mixpanel's reason; they can be seen, sent again, deleted."""
    future = int(time.time() * 1000) + 7_200_000
    good = [event(number) for number in range(20)]
    bad = [event(100 + number, time=future, data={"half": "a\ud800"}) for number in range(3)]
    await accept(redis, [*good[:10], *bad, *good[10:], {"key": "in.gen.x", "data": {}}])
    async with sender() as running:
        await until(lambda: acknowledged(redis))
        assert sorted(double.store.ids()) == sorted(one["id"] for one in good)
        letters = await running.call("dead_letters", limit=10)
        assert letters["count"] == 4
        reasons = [letter["reason"] for letter in letters["letters"]]
        assert sum("1 hour in the future" in reason for reason in reasons) == 3
        assert sum("neither a time" in reason for reason in reasons) == 1
        shown = next(letter for letter in letters["letters"] if letter["event"].get("id") == bad[0]["id"])
        assert (shown["field"], shown["status"], shown["event"]) == ("properties.time", "400", bad[0])
        assert (await running.call("trace", id=bad[0]["id"]))["outcome"] == "dead letter"
        assert (await running.call("trace", id=good[0]["id"]))["outcome"] == "taken"

        assert (await running.call("replay_dead_letters"))["letters"] == 4
        await until(lambda: _replayed(running))
        stats = await running.get("/stats")
        assert (stats["replay"]["refused"], stats["dead_letters"]) == (4, 4)
        assert await running.call("delete_dead_letters", ids=shown["stream_id"]) == {"deleted": 0}
        assert await running.call("delete_dead_letters") == {"deleted": 4}


async def test_send_mixpanel_shows_dead_letters_to_the_director_only(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """No page in a browser and no program on the host reads or deletes them by the service's port."""
    await redis.xadd("dead:send_mixpanel", {"event": json.dumps(event(1)), "reason": "was too old"})
    async with sender() as running:
        await until(lambda: _connected(running))
        async with aiohttp.ClientSession(f"http://127.0.0.1:{running.port}") as session:
            for method in ("dead_letters", "delete_dead_letters", "replay_dead_letters", "trace"):
                async with session.get(f"/{method}") as answer:
                    assert answer.status == 404, method
            async with session.get("/stats", headers={"Sec-Fetch-Site": "cross-site"}) as answer:
                assert answer.status == 403
        assert (await running.call("dead_letters"))["count"] == 1


async def test_send_mixpanel_traces_a_dead_letter_of_an_earlier_life(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """After a restart a trace still says what Mixpanel said of it; of others, that nothing is known."""
    bad = event(1, time=int(time.time() * 1000) + 7_200_000)
    await accept(redis, [bad, event(2)])
    async with sender():
        await until(lambda: acknowledged(redis))
    async with sender() as running:
        await until(lambda: _connected(running))
        told = await running.call("trace", id=bad["id"])
        assert told["outcome"] == "dead letter"
        assert "1 hour in the future" in told["answer"]
        assert abs(told["at"] - time.time() * 1000) < 60_000
        for unknown in (event(2)["id"], "x" * 50, "", "9" * 30):
            assert (await running.call("trace", id=unknown))["outcome"] == "unknown"


async def _connected(running: Sender) -> bool:
    return bool((await running.get("/health"))["checks"]["redis"]["status"] == "ok")


async def _replayed(running: Sender) -> bool:
    replay = (await running.get("/stats"))["replay"]
    return bool(replay) and replay["running"] is False


async def test_send_mixpanel_replay_takes_what_was_mended(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """Dead letters whose reason is gone are taken by a replay and leave the dead letters."""
    await redis.xadd("dead:send_mixpanel", {"event": json.dumps(event(1)), "reason": "was too old"})
    async with sender() as running:
        await until(lambda: _connected(running))
        await running.call("replay_dead_letters")
        await until(lambda: len(double.store.ids()) == 1)
        await until(lambda: _replayed(running))
        assert (await running.get("/stats"))["dead_letters"] == 0


async def test_send_mixpanel_replays_nothing_that_is_left_out_now(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """A dead letter whose key is no longer wanted stays a dead letter; `ids=,` deletes none, not all."""
    for number, key in enumerate(["in.gen.track.page", "in.gen.hook.x"]):
        await redis.xadd("dead:send_mixpanel", {"event": json.dumps(event(number, key=key)), "reason": "x"})
    async with sender(MIXPANEL_KEYS="in.gen.track") as running:
        await until(lambda: _connected(running))
        await running.call("replay_dead_letters")
        await until(lambda: _replayed(running))
        stats = await running.get("/stats")
        assert (stats["replay"]["taken"], stats["replay"]["left_out"], stats["dead_letters"]) == (1, 1, 1)
        assert await running.call("delete_dead_letters", ids=",") == {"deleted": 0}
        assert await running.call("delete_dead_letters") == {"deleted": 1}


async def test_send_mixpanel_one_odd_event_holds_nobody_back(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """An event that no record can be made of is a dead letter with the reason; its neighbours are sent."""
    await accept(redis, [event(1), {"id": "9" * 5000, "key": "in.gen.x"}, event(2)])
    async with sender() as running:
        await until(lambda: acknowledged(redis))
        letters = (await running.call("dead_letters"))["letters"]
    assert len(double.store.ids()) == 2
    assert [letter["reason"] for letter in letters] == ["the event has neither a time nor an id that contains one"]


async def test_send_mixpanel_begins_where_it_is_told(sender: Callable[..., Any], redis: Redis, double: Double) -> None:
    """EVENTS_FROM=0: a sender that comes later uploads what the stream still holds, with its own times."""
    await redis.xgroup_destroy("events", "send_mixpanel")
    ids = await accept(redis, [event(number) for number in range(5)])
    async with sender(EVENTS_FROM="0"):
        await until(lambda: len(double.store.ids()) == 5)
    assert sorted(double.store.ids()) == sorted(ids)


async def test_send_mixpanel_large_events_fit_into_its_memory(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """3,000 events of 60 kB wait, half of them given to an earlier life: under 200 MB, and all arrive."""
    ids = []
    for number in range(0, 3000, 500):
        ids += await accept(redis, [event(number + one, data={"pad": "x" * 60_000}) for one in range(500)])
    await redis.xreadgroup("send_mixpanel", f"send_mixpanel-{socket.gethostname()}", {"events": ">"}, count=1500)
    async with sender(MIXPANEL_TIMEOUT="10") as running:
        await until(lambda: len(double.store.ids()) == 3000, timeout=40)
        peak = _peak_kb(running.process.pid)
    assert sorted(double.store.ids()) == sorted(ids)
    assert peak < 200_000


def _peak_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


async def test_send_mixpanel_bad_credentials(sender: Callable[..., Any], redis: Redis, double: Double) -> None:
    """A refused token stops sending, not accepting: events stay in the stream, health says so, a cure is noticed."""
    double.access.set(["another"], {})
    ids = await accept(redis, [event(number) for number in range(10)])
    async with sender() as running:
        await until(lambda: double.store.requests.get(401, 0) >= 2)
        health = await running.mixpanel_health()
        assert health["status"] == "failing"
        assert "401: Invalid credentials" in health["reason"]
        assert not await acknowledged(redis)
        double.access.set([CANARY], {})
        await until(lambda: acknowledged(redis))
        assert (await running.mixpanel_health())["status"] == "ok"
    assert sorted(double.store.ids()) == sorted(ids)


async def test_send_mixpanel_without_token(sender: Callable[..., Any], redis: Redis, double: Double) -> None:
    """Without credentials it runs, says what to set, and every event waits for the day it has them."""
    ids = await accept(redis, [event(number) for number in range(10)])
    async with sender(MIXPANEL_TOKEN="") as running:
        health = await running.mixpanel_health()
        assert health["status"] == "failing"
        assert "MIXPANEL_TOKEN" in health["hint"]
        await asyncio.sleep(0.3)
        assert double.store.requests == {}
    assert not await acknowledged(redis)
    async with sender():
        await until(lambda: acknowledged(redis))
    assert sorted(double.store.ids()) == sorted(ids)


async def test_send_mixpanel_several_projects(sender: Callable[..., Any], redis: Redis, double: Double) -> None:
    """Each event goes to the project of its projectId; one project in trouble does not hold up the other."""
    double.access.set(["tok17"], {})
    events = [event(number, projectId=17 + number % 3) for number in range(30)]
    await accept(redis, events)
    table = json.dumps({"17": "tok17", "18": {"token": "tok18"}})
    async with sender(MIXPANEL_TOKEN="", MIXPANEL_PROJECTS=table, PATIENCE="0.4") as running:
        await until(lambda: acknowledged(redis))
        assert sorted(double.store.ids()) == sorted(one["id"] for one in events if one["projectId"] == 17)
        stats = await running.get("/stats")
        assert (stats["held"], stats["left_out"]) == (10, 10)
        health = await running.mixpanel_health()
        assert (health["status"], health["projects"]["17"]["status"]) == ("failing", "ok")
        double.access.set(["tok17", "tok18"], {})
        await until(lambda: len(double.store.ids()) == 20)
        await until(lambda: _held_nothing(running))
    assert {one["project"] for one in double.store.newest(50)} == {"tok17", "tok18"}


async def test_send_mixpanel_finds_what_other_settings_held(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """Held for a project that the table no longer names: sent by the settings of today, or kept and told of."""
    events = [event(number, projectId=17 + number) for number in range(3)]
    for one in events:
        await redis.xadd(f"held:send_mixpanel:{one['projectId']}", {"event": json.dumps(one)})
    async with sender(MIXPANEL_TOKEN="", MIXPANEL_PROJECTS='{"17": "tok17"}') as running:
        await until(lambda: double.store.ids() == [events[0]["id"]])
        await running.stop()
    assert running.output.count(b"mixpanel_held_for_nobody") == 2
    assert await redis.xlen("held:send_mixpanel:18") == 1
    async with sender():
        await until(lambda: len(double.store.ids()) == 3)
        await until(lambda: _gone(redis, "held:send_mixpanel:18", "held:send_mixpanel:19"))


async def _gone(redis: Redis, *keys: str) -> bool:
    return sum([await redis.xlen(key) for key in keys]) == 0


async def _held_nothing(running: Sender) -> bool:
    return bool((await running.get("/stats"))["held"] == 0)


async def test_send_mixpanel_filters_by_key(sender: Callable[..., Any], redis: Redis, double: Double) -> None:
    """Only events under the wanted prefixes are sent; a prefix ends at a dot."""
    keys = ["in.gen.track.page", "in.gen.track", "in.gen.tracker.x", "in.gen.hook.x"]
    await accept(redis, [event(number, key=key) for number, key in enumerate(keys)])
    async with sender(MIXPANEL_KEYS="in.gen.track"):
        await until(lambda: acknowledged(redis))
    assert len(double.store.ids()) == 2


async def test_send_mixpanel_says_when_mixpanel_cannot_be_reached(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """Nobody listens at the address: one warning with the true reason, the same in health, and no secret."""
    await accept(redis, [event(1)])
    async with sender(MIXPANEL_URL=f"http://127.0.0.1:{_free_port()}") as running:
        await until(lambda: _requests(running, 3))
        health = await running.mixpanel_health()
        await running.stop()
    assert "Connect call failed" in health["reason"]
    assert "(0" not in health["reason"]
    output = running.output.decode()
    assert output.count("mixpanel_trouble") == 1
    assert "Connect call failed" in output
    assert CANARY not in output + str(health)


async def _requests(running: Sender, least: int) -> bool:
    stats = await running.get("/stats")  # an error until the service is connected to Redis
    return "projects" in stats and bool(stats["projects"]["default"]["requests"] >= least)


async def test_send_mixpanel_says_when_trouble_is_over(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """Three failures are one warning; what Mixpanel takes then is the end, said once."""
    double.faults.order({"status": 503, "times": 3})
    await accept(redis, [event(1)])
    async with sender() as running:
        await until(lambda: acknowledged(redis))
        await running.stop()
    output = running.output.decode()
    assert (output.count("mixpanel_trouble "), output.count("mixpanel_trouble_over")) == (1, 1)


async def test_send_mixpanel_stops_in_time_and_tells_no_secret(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """SIGTERM in the middle of a back-off ends it within the stop time; no output, page or answer has the token."""
    double.faults.order({"status": 500, "times": 1000})
    await accept(redis, [event(1)])
    async with sender(LOG_LEVEL="DEBUG", BACKOFF_MOST="30", BACKOFF_FIRST="30") as running:
        await until(lambda: double.store.requests.get(500, 0) >= 1)
        pages = [json.dumps(await running.get(path)) for path in ("/health", "/stats")]
        begun = time.monotonic()
        await running.stop()
        assert time.monotonic() - begun < 9
    assert CANARY not in running.output.decode() + "".join(pages)
    assert b"service_stopped" in running.output


async def test_send_mixpanel_bad_settings_say_why(redis_port: int, tmp_path: Path) -> None:
    """A setting that cannot work ends the start with one line that says what to write."""
    shutil.copy(CONFIG, tmp_path / "config.yaml")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "send_mixpanel", cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "MIXPANEL_REGION": "mars"},
    )  # fmt: skip
    _, output = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 1
    assert output.decode().strip() == "send_mixpanel: MIXPANEL_REGION='mars' is not known; write one of us, eu, in"


async def test_send_mixpanel_replays_only_what_is_asked_for(
    sender: Callable[..., Any], redis: Redis, double: Double
) -> None:
    """With ids only these letters are sent again; ids that are none send nothing, not everything."""
    keys = [
        (await redis.xadd("dead:send_mixpanel", {"event": json.dumps(event(number)), "reason": "x"})).decode()
        for number in range(3)
    ]
    async with sender() as running:
        await until(lambda: _connected(running))
        assert (await running.call("replay_dead_letters", ids="nonsense,5-5"))["letters"] == 0
        await until(lambda: _replayed(running))
        assert (await running.call("replay_dead_letters", ids=keys[1]))["letters"] == 1
        await until(lambda: _replayed(running))
        assert double.store.newest(5)[0]["properties"]["n"] == 1
        assert (await running.get("/stats"))["dead_letters"] == 2
        assert await running.call("delete_dead_letters", ids=f"junk,{keys[0]}") == {"deleted": 1}


async def test_send_mixpanel_full_batches_do_not_wait(sender: Callable[..., Any], redis: Redis, double: Double) -> None:
    """So many events, or so many bytes, leave at once, several requests at a time; the rest waits for the linger."""
    async with sender(BATCH_EVENTS="50", BATCH_BYTES="20000", LINGER="30"):
        await accept(redis, [event(number) for number in range(120)])
        await until(lambda: double.store.stats()["unique"] >= 100, timeout=8)
        await asyncio.sleep(0.3)
        assert double.store.stats()["unique"] < 120
        await accept(redis, [event(500 + number, data={"pad": "x" * 5000}) for number in range(5)])
        await until(lambda: double.store.stats()["unique"] >= 120, timeout=8)
