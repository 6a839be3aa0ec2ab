"""Several instances of one service: each request goes to one of them, and none to a dead one."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from band.errors import RpcRemoteError
from band.jsonrpc import instances
from band.jsonrpc.instances import KEY
from band.service.health import read_health
from band.service.lifecycle import Service


def counting(seen, which, name="work"):
    """Return a service whose function counts its calls."""
    service = Service()

    @service.expose(name=name)
    async def work(n=None, **params):
        seen[which, n] += 1
        return [which, n]

    @service.expose()
    async def fail(**params):
        raise ValueError("no")

    return service


@pytest.fixture
def seen():
    return Counter()


async def know_each_other(eventually, *services):
    await eventually(lambda: all(len(service.presence.replicas()) == len(services) for service in services))


async def die(service):
    """End as kill -9 would: no farewell, the connections just break."""
    for task in service._tasks:
        task.cancel()
    await asyncio.gather(*service._tasks, return_exceptions=True)
    await service.link.close()


async def ask_all(asker, count, to="twin", method="work"):
    """Send requests as an original peer does, and return who answered which."""
    for n in range(count):
        message = {"jsonrpc": "2.0", "method": f"{to}:{method}:asker", "params": {"n": n}, "id": str(n)}
        await asker.publish(to, message)
    return [await asker.next_json(10) for _ in range(count)]


async def test_original_callers_reach_exactly_one_replica_a_request(run_service, peer, seen, eventually):
    """A request on the shared channel, which both get, is answered once; both take their part."""
    a = await run_service(counting(seen, "a"), name="twin")
    b = await run_service(counting(seen, "b"), name="twin")
    await know_each_other(eventually, a, b)
    asker = await peer("asker")
    answers = await ask_all(asker, 60)
    assert sorted(answer["result"][1] for answer in answers) == list(range(60))
    assert await asker.silent(0.2)
    assert all(count == 1 for count in seen.values())
    assert {which for which, _ in seen} == {"a", "b"}


async def test_callers_of_ours_reach_exactly_one_replica_a_request(run_service, seen, eventually):
    """Our own callers take the replicas in turn, many calls at once."""
    a = await run_service(counting(seen, "a"), name="twin")
    b = await run_service(counting(seen, "b"), name="twin")
    caller = await run_service(Service(), name="caller")
    await know_each_other(eventually, a, b)
    results = await asyncio.gather(*(caller.rpc.call("twin", "work", {"n": n}, timeout=15) for n in range(200)))
    assert [result[1] for result in results] == list(range(200))
    assert all(count == 1 for count in seen.values())
    assert {which for which, _ in seen} == {"a", "b"}


async def test_answers_go_to_the_instance_that_asked(run_service, peer, seen, eventually):
    """Between services of ours replies travel on the caller's own channel: other replicas do not see them."""
    await run_service(counting(seen, "a"), name="twin")
    caller = await run_service(Service(), name="caller")
    await caller.rpc.call("twin", "work", {"n": 0}, timeout=15)
    await eventually(lambda: caller.presence.knows("twin"))
    watcher = await peer("caller")
    assert await caller.rpc.call("twin", "work", {"n": 1}, timeout=15) == ["a", 1]
    assert await watcher.silent(0.2)


async def test_a_dead_replica_is_not_counted(run_service, peer, seen, eventually):
    """A service that was killed and started again answers every request from the first second."""
    old = await run_service(counting(seen, "old"), name="twin")
    await eventually(lambda: old.instance in old.presence.replicas() and old.presence._known["twin"])
    await die(old)
    fresh = await run_service(counting(seen, "fresh"), name="twin")
    asker = await peer("asker")
    await eventually(lambda: fresh.presence._known.get("twin"))
    answers = await ask_all(asker, 30)
    assert {tuple(answer["result"]) for answer in answers} == {("fresh", n) for n in range(30)}


async def test_callers_of_ours_leave_a_dead_replica_at_once(run_service, seen, eventually):
    """A call to an instance that died goes on to another one instead of ending in an error."""
    a = await run_service(counting(seen, "a"), name="twin")
    b = await run_service(counting(seen, "b"), name="twin")
    caller = await run_service(Service(), name="caller")
    await know_each_other(eventually, a, b)
    await caller.rpc.call("twin", "work", {"n": -1}, timeout=15)
    await eventually(lambda: len(caller.presence._known.get("twin", ())) == 2)
    await die(b)
    results = await asyncio.gather(*(caller.rpc.call("twin", "work", {"n": n}, timeout=5) for n in range(20)))
    assert {which for which, _ in results} == {"a"}


async def test_a_replica_that_stops_costs_no_call(run_service, peer, seen, eventually):
    """While calls keep coming, from ours and from original peers, one of two instances stops: nobody gets an error."""
    a = await run_service(counting(seen, "a"), name="twin")
    b = await run_service(counting(seen, "b"), name="twin")
    caller = await run_service(Service(), name="caller")
    asker = await peer("asker")
    await know_each_other(eventually, a, b)
    stopping = asyncio.Event()
    failures = []

    async def keep_calling():
        for n in range(300):
            try:
                await caller.rpc.call("twin", "work", {"n": n}, timeout=5)
            except Exception as error:  # noqa: BLE001 - what the test counts
                failures.append(error)
            if n == 50:
                stopping.set()

    calling = asyncio.create_task(keep_calling())
    await stopping.wait()
    await b.stop()
    await calling
    assert failures == []
    answers = await ask_all(asker, 20)
    assert {answer["result"][0] for answer in answers} == {"a"}


async def test_a_stopping_replica_leaves_shared_requests_to_the_others(run_service, peer, seen, eventually):
    """From its farewell on, an instance takes no request that another can take; alone, it says that it stops."""
    a = await run_service(counting(seen, "a"), name="twin")
    b = await run_service(counting(seen, "b"), name="twin")
    await know_each_other(eventually, a, b)
    await b.presence.leave()
    await eventually(lambda: a.presence.replicas() == [a.instance])
    answers = await ask_all(await peer("asker"), 20)
    assert {answer["result"][0] for answer in answers} == {"a"}
    assert all(which == "a" for which, _ in seen)


async def test_broadcast_reaches_one_replica(run_service, peer, seen, eventually):
    """A listener with two instances handles each event once."""
    services = []
    for which in ("a", "b"):
        service = Service()

        def broadcast(n, which=which, **event):
            seen[which, n] += 1

        service.expose.listener(name="broadcast")(broadcast)
        services.append(await run_service(service, name="sink", listen_all=True))
    await know_each_other(eventually, *services)
    front = await peer()
    for n in range(40):
        message = {"jsonrpc": "2.0", "from": "front", "to": "broadcast", "method": "broadcast:broadcast:front"}
        assert await front.publish("broadcast", {**message, "params": {"n": n, "id": str(n)}}) == 2
    await eventually(lambda: len(seen) >= 40)
    assert sorted(n for _, n in seen) == list(range(40))
    assert {which for which, _ in seen} == {"a", "b"}


async def test_scatter_reaches_one_replica_of_each_enricher(run_service, seen, eventually):
    """Many enrichments at once, two instances of one enricher: every one is answered once by each service."""
    services = [
        await run_service(counting(seen, which, "enrich"), name=name, listen_enrich=True)
        for which, name in (("a", "twin"), ("b", "twin"), ("c", "single"))
    ]
    caller = await run_service(Service(), name="caller")
    await know_each_other(eventually, *services[:2])
    scatter = lambda n: caller.rpc.scatter("enrich", "enrich", {"n": n}, expect={"twin", "single"}, timeout=10)  # noqa: E731
    await scatter(-1)
    seen.clear()
    found = await asyncio.gather(*(scatter(n) for n in range(100)))
    assert all(one.missing == set() for one in found)
    assert [one.results["single"] for one in found] == [["c", n] for n in range(100)]
    assert [one.results["twin"][1] for one in found] == list(range(100))
    assert all(count == 1 for count in seen.values())
    assert len(seen) == 200


async def test_call_many_gives_each_items_result_or_error(run_service, peer, seen):
    """One message, many calls; an original peer, which has no batches, is refused with its own error."""
    await run_service(counting(seen, "a"), name="twin")
    caller = await run_service(Service(), name="caller")
    results = await caller.rpc.call_many("twin", "work", [{"n": n} for n in range(10)], timeout=10)
    assert results == [["a", n] for n in range(10)]
    results = await caller.rpc.call_many("twin", "fail", [{}, {}], timeout=10)
    assert [type(result) for result in results] == [RpcRemoteError, RpcRemoteError]
    assert "ValueError: no" in str(results[0])
    assert await caller.rpc.call_many("twin", "work", [], timeout=10) == []


async def test_garbage_in_the_presence_key_harms_nothing(run_service, peer, eventually, seen):
    """What somebody else writes there, of any type, neither ends the watch nor is called."""
    raw = await peer("asker")
    await raw.command("ZADD", KEY.format(service="twin"), "99999999999", b"\xff\xfe", "99999999999", "no-such")
    a = await run_service(counting(seen, "a"), name="twin")
    caller = await run_service(Service(), name="caller")
    await eventually(lambda: a.presence._known.get("twin") == [a.instance])
    assert await caller.rpc.call("twin", "work", {"n": 1}, timeout=10) == ["a", 1]
    assert {answer["result"][0] for answer in await ask_all(raw, 10)} == {"a"}
    await raw.command("SET", KEY.format(service="other"), "a string")
    other = await peer("other")
    task = asyncio.create_task(caller.rpc.call("other", "m", timeout=10))
    request = await other.next_json()
    await other.publish(
        request.get("from"), {"jsonrpc": "2.0", "result": 1, "id": request["id"], "from": "other", "to": "caller"}
    )
    assert await task == 1


async def test_presence_comes_back_after_redis_lost_everything(run_service, peer, seen, eventually):
    """FLUSHALL: within a few seconds both instances are known again."""
    a = await run_service(counting(seen, "a"), name="twin")
    b = await run_service(counting(seen, "b"), name="twin")
    await know_each_other(eventually, a, b)
    raw = await peer()
    await raw.command("FLUSHALL")

    async def both():
        return await raw.command("ZCARD", KEY.format(service="twin")) == 2

    await eventually(both)


async def test_names_that_are_no_service_of_ours_are_forgotten(run_service, eventually, monkeypatch):
    """What was called and never had an instance costs nothing for ever; a service of ours stays known."""
    monkeypatch.setattr(instances, "FORGET_SECONDS", 0.3)
    monkeypatch.setattr(instances, "REFRESH", 0.1)
    await run_service(Service(), name="ours")
    caller = await run_service(Service(), name="caller")
    await eventually(lambda: caller.presence.knows("ours"))
    for number in range(500):
        assert caller.presence.pick(f"ghost{number}") is None
    assert len(caller.presence._known) <= instances.MAX_WITHOUT_INSTANCES + 2
    await eventually(lambda: set(caller.presence._known) == {"caller", "ours"})
    await eventually(lambda: caller.presence._called == {})


async def test_a_plain_peer_is_not_looked_up_at_every_call(run_service, monkeypatch):
    """A service of the original platform has no instances: that is remembered while it is called."""
    caller = await run_service(Service(), name="caller")
    looked = []
    monkeypatch.setattr(caller.presence, "_look", looked.append)
    caller.presence.pick("original")
    caller.presence._known["original"] = []
    for _ in range(5):
        caller.presence.pick("original")
        caller.presence._drop_unused()
    assert looked == ["original"]


async def test_a_redis_that_refuses_the_sign_of_life_does_not_blind_it(run_service, own_redis, eventually, monkeypatch):
    """Full or read-only: the instance says why, goes on looking at others, and shows itself again afterwards."""
    monkeypatch.setattr(instances, "REFRESH", 0.1)
    server = own_redis()
    service = await run_service(Service(), name="labsvc", redis_dsn=server.dsn)
    link = service.link
    await eventually(lambda: link.command("ZCARD", "band:instances:labsvc"))
    await link.command("CONFIG", "SET", "maxmemory", "1")
    await eventually(lambda: "OOM" in service.presence.refused)
    health = await read_health(service.registry, link)
    assert health["status"] == "degraded"
    assert "Redis refuses writes: OOM" in health["checks"]["redis_writes"]["reason"]
    await link.command("CONFIG", "SET", "maxmemory", "0")
    await eventually(lambda: not service.presence.refused)
    assert (await read_health(service.registry, link))["status"] == "ok"
