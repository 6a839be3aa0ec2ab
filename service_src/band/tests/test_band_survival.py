"""Redis dies, freezes, fills up, drops connections: every service waits, comes back, and says what happened."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from band.errors import RedisReplyError, RedisUnavailable, RpcError, RpcTimeout, RpcUnavailable
from band.redis import Backoff, RedisAddress, RedisLink
from band.redis import link as link_module
from band.redis.connection import Connection
from band.service.lifecycle import Service


def make_pair():
    """Return a service with a method and one that calls it."""
    server, caller = Service(), Service()

    @server.expose()
    async def echo(**params):
        return params

    @server.expose()
    async def hang():
        await asyncio.sleep(3600)

    return server, caller


async def start_pair(run_service, redis_server):
    server, caller = make_pair()
    await run_service(server, name="server", redis_dsn=redis_server.dsn)
    await run_service(caller, name="caller", redis_dsn=redis_server.dsn)
    assert await caller.rpc.call("server", "echo", {"n": 1}, timeout=10) == {"n": 1}
    return server, caller


async def answers(caller):
    """Tell whether a call goes through now."""
    try:
        return await caller.rpc.call("server", "echo", {"n": 2}, timeout=1) == {"n": 2}
    except RpcError:
        return False


async def test_killed_redis_comes_back(run_service, own_redis, eventually):
    """kill -9 and a new start: both sides reconnect, subscribe again, and calls go through with no help."""
    redis_server = own_redis()
    server, caller = await start_pair(run_service, redis_server)
    redis_server.kill()
    await eventually(lambda: not (server.link.connected or caller.link.connected))
    with pytest.raises(RpcUnavailable, match="no connection to Redis"):
        await caller.rpc.call("server", "echo", timeout=0.2)
    assert await caller.rpc.request("server", "echo", timeout__=0.1) is None
    redis_server.start()
    await eventually(lambda: answers(caller))
    assert server.link.reconnects == caller.link.reconnects == 1


async def test_call_that_waits_for_redis_goes_through_when_it_is_back_in_time(run_service, own_redis, eventually):
    """A call made while Redis is away is not lost if Redis returns before its deadline."""
    redis_server = own_redis()
    server, caller = await start_pair(run_service, redis_server)
    redis_server.kill()
    await eventually(lambda: not (server.link.connected or caller.link.connected))

    async def insist():
        while True:  # both sides come back at their own moments
            try:
                return await caller.rpc.call("server", "echo", {"n": 3}, timeout=15)
            except RpcUnavailable as error:
                assert "is connected to Redis" in str(error)
                await asyncio.sleep(0.05)

    task = asyncio.create_task(insist())
    await asyncio.sleep(0.2)
    redis_server.start()
    assert await task == {"n": 3}


async def test_pending_calls_end_at_their_deadline_with_a_typed_error(run_service, own_redis):
    """Redis dies under a call in progress: RpcTimeout at the deadline, neither later nor never."""
    redis_server = own_redis()
    _, caller = await start_pair(run_service, redis_server)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    calls = [asyncio.create_task(caller.rpc.call("server", "hang", timeout=1.0)) for _ in range(20)]
    await asyncio.sleep(0.1)
    redis_server.kill()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, RpcTimeout) for error in found), found
    assert 0.9 < loop.time() - begun < 5
    assert caller.rpc.waiting == 0


async def test_frozen_redis_is_noticed_and_left(run_service, own_redis, eventually, monkeypatch):
    """SIGSTOP: the connection stands but nothing answers. It is dropped, and all is well after SIGCONT."""
    monkeypatch.setattr(link_module, "COMMAND_TIMEOUT", 0.6)
    monkeypatch.setattr(link_module, "WATCH_INTERVAL", 0.2)
    monkeypatch.setattr(link_module, "CONNECT_TIMEOUT", 0.6)
    redis_server = own_redis()
    server, caller = await start_pair(run_service, redis_server)
    redis_server.freeze()
    with pytest.raises(RpcTimeout):
        await caller.rpc.call("server", "echo", timeout=0.3)
    await eventually(lambda: not (server.link.connected or caller.link.connected))
    assert "in time" in caller.link.last_error
    with pytest.raises(RedisUnavailable):
        await caller.link.command("PING")
    redis_server.thaw()
    await eventually(lambda: answers(caller))


async def test_dropped_connections_are_made_again(run_service, own_redis, eventually):
    """CLIENT KILL, again and again: each time the services are back."""
    redis_server = own_redis()
    server, caller = await start_pair(run_service, redis_server)
    link = RedisLink("killer")
    link.start(RedisAddress.parse(redis_server.dsn))
    await link.ready(10)
    for round_ in range(1, 4):
        await link.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await link.command("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")
        await eventually(lambda n=round_: server.link.reconnects >= n and caller.link.reconnects >= n)
        await eventually(lambda: answers(caller))
    await link.close()


async def test_loading_redis_is_waited_for(run_service, own_redis, eventually, tmp_path):
    """While Redis loads its file it answers -LOADING: that is not connected yet, and is retried."""
    redis_server = own_redis("--key-load-delay", "1500", "--loading-process-events-interval-bytes", "1024")
    link = RedisLink("filler")
    link.start(RedisAddress.parse(redis_server.dsn))
    await link.ready(10)
    for number in range(1500):
        link.publish("x", b"")
        await link.command("SET", f"key{number}", "x" * 100)
    await link.command("SAVE")
    await link.close()
    redis_server.kill()
    redis_server.start(wait=False)
    service = Service()
    await run_service(service, connected=False, redis_dsn=redis_server.dsn)
    await eventually(lambda: "LOADING" in service.link.last_error)
    assert not service.link.connected
    await eventually(lambda: service.link.connected, timeout=30)


async def test_full_redis_refuses_events_but_not_calls(run_service, own_redis, eventually):
    """maxmemory with noeviction: writes end with the error OOM, calls still go through, and it all heals."""
    redis_server = own_redis("--maxmemory-policy", "noeviction")
    _, caller = await start_pair(run_service, redis_server)
    got = []

    listener = Service()

    @listener.expose.listener()
    async def broadcast(n, **event):
        got.append(n)

    await run_service(listener, name="listen", redis_dsn=redis_server.dsn, events_from="0")
    await caller.link.command("XADD", "events", "*", "event", json.dumps({"n": 1}))
    await eventually(lambda: got == [1])
    await caller.link.command("CONFIG", "SET", "maxmemory", "1mb")
    with pytest.raises(RedisReplyError) as caught:
        await caller.link.command("XADD", "events", "*", "event", json.dumps({"n": 2}))
    assert caught.value.code == "OOM"
    assert await answers(caller)
    await caller.link.command("CONFIG", "SET", "maxmemory", "0")
    await caller.link.command("XADD", "events", "*", "event", json.dumps({"n": 3}))
    await eventually(lambda: got == [1, 3])


async def test_listener_resumes_where_it_was(run_service, own_redis, eventually, tmp_path):
    """With AOF, a Redis that is killed and started again costs a listener no event and no wait for a claim."""
    redis_server = own_redis("--appendonly", "yes", "--appendfsync", "always")
    got = []
    listener = Service()

    @listener.expose.listener()
    async def broadcast(n, **event):
        got.append(n)

    await run_service(listener, name="listen", redis_dsn=redis_server.dsn, events_from="0")
    add = lambda n: listener.link.command("XADD", "events", "*", "event", json.dumps({"n": n}))  # noqa: E731
    await add(1)
    await eventually(lambda: got == [1])
    redis_server.kill()
    await eventually(lambda: not listener.link.connected)
    redis_server.start()
    await listener.link.ready(15)
    await add(2)
    await eventually(lambda: got == [1, 2])


async def test_messages_kept_meanwhile_leave_when_redis_is_back(run_service, own_redis, eventually, peer):
    """Notifications and replies made while Redis is away are sent afterwards, in order; old ones are not."""
    redis_server = own_redis()
    _, caller = await start_pair(run_service, redis_server)
    reopen, subscribed = caller.link._open, asyncio.Event()

    async def open_later():
        await subscribed.wait()
        return await reopen()

    caller.link._open = open_later
    redis_server.kill()
    await eventually(lambda: not caller.link.connected)
    for number in range(3):
        await caller.rpc.notify("other", "note", n=number)
    caller.link._outbox.append((0.0, ("PUBLISH", "other", b"too old"), None))
    redis_server.start()
    other = await peer("other", server=redis_server)
    subscribed.set()
    got = [await other.next_json() for _ in range(3)]
    assert [message["params"]["n"] for message in got] == [0, 1, 2]
    assert await other.silent()
    assert caller.link.dropped >= 1


async def test_outbox_is_bounded_and_expired_messages_make_room(monkeypatch):
    """While Redis stays away memory does not grow: what is too much is dropped and counted."""
    monkeypatch.setattr(link_module, "OUTBOX_MESSAGES", 3)
    link = RedisLink("x")
    assert [link.publish("c", b"", keep=True) for _ in range(4)] == [True, True, True, False]
    assert link.publish("c", b"") is False
    assert link.dropped == 2
    link._outbox[0] = (0.0, *link._outbox[0][1:])
    assert link.publish("c", b"new", keep=True) is True


async def test_nothing_that_a_message_or_reply_does_to_its_receiver_ends_the_connection(
    redis, peer, eventually, capsys
):
    """An exception of whoever takes a push or a reply is logged; the next ones are handed on."""
    heard = []

    def on_message(channel: str, data: bytes) -> None:
        heard.append(data)
        if data == b"bad":
            raise RuntimeError("this receiver is broken")

    def on_reply(reply: object) -> None:
        heard.append(reply)
        raise RuntimeError("so is this one")

    link = RedisLink("x", on_message=on_message)
    await link.subscribe("c")
    link.start(RedisAddress.parse(redis.dsn))
    await link.ready(10)
    link.send("ECHO", "1", on_reply=on_reply)
    assert await link.command("ECHO", "2") == b"2"
    other = await peer()
    await other.publish("c", b"bad")
    await other.publish("c", b"good")
    await eventually(lambda: heard == [b"1", b"bad", b"good"])
    assert (link.reconnects, link.connected) == (0, True)
    assert capsys.readouterr().out.count("redis_receiver_failed") == 2
    await link.close()


async def test_a_channel_that_is_added_while_the_connection_is_made_is_subscribed(own_redis, peer, eventually):
    """subscribe() between the connection's SUBSCRIBE and its confirmation is sent too; unsubscribe() likewise."""
    redis_server = own_redis()
    heard: list[str] = []
    wires = []
    link = RedisLink("x", on_message=lambda channel, _data: heard.append(channel))
    await link.subscribe("first", "gone")
    opened = link._open

    async def open_slowly():
        wire = await opened()
        wires.append(wire)
        send = wire.send_unanswered

        def send_and_change(parts):
            wire.send_unanswered = send
            send(parts)
            asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(link.subscribe("late")))
            asyncio.get_running_loop().call_soon(link.unsubscribe, "gone")

        wire.send_unanswered = send_and_change
        return wire

    link._open = open_slowly
    link.start(RedisAddress.parse(redis_server.dsn))
    await link.ready(10)
    other = await peer(server=redis_server)
    await eventually(lambda: other.command("PUBSUB", "CHANNELS"))
    assert await other.publish("first", b"") == 1
    assert await other.publish("late", b"") == 1
    assert await other.publish("gone", b"") == 0
    await eventually(lambda: heard == ["first", "late"])
    assert len(wires) == 1
    await link.close()


async def test_refused_subscription_is_told_and_tried_again(own_redis, eventually):
    """A Redis user that may not read the channel: the reason is in last_error, and the link does not spin."""
    redis_server = own_redis()
    admin = RedisLink("admin")
    admin.start(RedisAddress.parse(redis_server.dsn))
    await admin.ready(10)
    await admin.command("ACL", "SETUSER", "poor", "on", ">pw", "+@all", "~*", "&allowed")
    link = RedisLink("poor")
    await link.subscribe("forbidden")
    link.start(RedisAddress.parse(f"redis://poor:pw@127.0.0.1:{redis_server.port}"))
    await eventually(lambda: "NOPERM" in link.last_error)
    assert not link.connected
    await admin.command("ACL", "SETUSER", "poor", "allchannels")
    await eventually(lambda: link.connected)
    await link.close()
    await admin.close()


async def test_wrong_password_is_told_without_it(own_redis, eventually):
    """The reason is Redis's own; the password is in no text."""
    redis_server = own_redis("--requirepass", "right")
    link = RedisLink("x")
    link.start(RedisAddress.parse(f"redis://:hunter2@127.0.0.1:{redis_server.port}"))
    await eventually(lambda: "WRONGPASS" in link.last_error)
    assert "hunter2" not in link.last_error
    with pytest.raises(RedisUnavailable, match="WRONGPASS"):
        await link.ready(0.05)
    await link.close()


async def test_garbage_from_the_other_end_is_survived(eventually):
    """Something that is no Redis, or a broken proxy: an error and a retry, not a crash."""
    connections = 0

    async def talk(_reader, writer):
        nonlocal connections
        connections += 1
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = RedisLink("x")
    link.start(RedisAddress.parse(f"redis://127.0.0.1:{port}"))
    await eventually(lambda: connections >= 3)
    assert not link.connected
    assert link.last_error
    await link.close()
    server.close()
    await server.wait_closed()


async def test_host_that_cannot_exist_does_not_end_the_link(eventually):
    """A name that the resolver refuses, or cannot even encode, is a reason to try again."""
    for host in ("no-such-host.invalid", "a" * 70 + ".invalid"):
        link = RedisLink("x")
        link.start(RedisAddress(host=host))
        await eventually(lambda link=link: "not connected yet" not in link.last_error)
        assert link._task is not None
        assert not link._task.done()
        await link.close()


async def test_many_commands_share_one_write(redis):
    """Concurrent commands leave in one write per turn of the loop and are answered in order."""
    writes = []
    link = RedisLink("x")
    link.start(RedisAddress.parse(redis.dsn))
    await link.ready(10)
    wire = link._wire
    assert isinstance(wire, Connection)
    real = wire._transport

    class Counting:
        def write(self, data):
            writes.append(len(data))
            real.write(data)

        def __getattr__(self, name):
            return getattr(real, name)

    wire._transport = Counting()  # type: ignore[assignment]
    results = await asyncio.gather(*(link.command("ECHO", str(n)) for n in range(100)))
    assert results == [str(n).encode() for n in range(100)]
    assert len(writes) == 1
    await link.close()


async def test_slow_redis_is_refused_more_before_memory_ends(monkeypatch, redis):
    """What waits for a Redis that does not read is bounded; then commands are refused."""
    monkeypatch.setattr("band.redis.connection.MAX_OUTGOING", 1000)
    link = RedisLink("x")
    link.start(RedisAddress.parse(redis.dsn))
    await link.ready(10)
    assert link._wire is not None
    link._wire.pause_writing()
    asked = link.ask("ECHO", "x" * 500)
    with pytest.raises(RedisUnavailable, match="too slow"):
        await link.command("ECHO", "x" * 600)
    link._wire.resume_writing()
    assert await asked == b"x" * 500
    await link.close()


def test_backoff_doubles_to_a_cap_with_jitter():
    """Between half of the delay and all of it; a reset begins anew."""
    backoff = Backoff(base=0.1, cap=5.0)
    delays = [backoff.next() for _ in range(100)]
    for number, delay in enumerate(delays):
        whole = min(5.0, 0.1 * 2**number)
        assert whole / 2 <= delay <= whole
    assert len({round(delay, 6) for delay in delays[10:]}) > 20
    backoff.reset()
    assert backoff.next() <= 0.1


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_idle_service_with_redis_away_rests(own_redis, spawn_service, how):
    """Under 2 % of a core while Redis is away (the original's reader spun)."""
    redis_server = own_redis()
    code = "from band import expose\n@expose.listener()\nasync def broadcast(**event):\n    pass\n"
    process = spawn_service(code, REDIS_DSN=redis_server.dsn)
    deadline = time.monotonic() + 15
    while "service_started" not in process.output:
        assert time.monotonic() < deadline, process.output
        time.sleep(0.05)
    time.sleep(0.5)
    if how == "killed":
        redis_server.kill()
    else:
        redis_server.freeze()
    time.sleep(0.5)
    before = process.cpu_seconds()
    time.sleep(4.0)
    share = (process.cpu_seconds() - before) / 4.0
    if how == "frozen":
        redis_server.thaw()
    assert share < 0.02, f"{share:.1%}"
    assert process.terminate() == 0
