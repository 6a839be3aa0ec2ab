"""WebSocket clients of a real front: the captured conversation, and what can go wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


async def labsvc(peers: Any) -> None:
    replies = {
        "dct": {"a": 1},
        "err404": {"type__": "error", "statusCode": 404, "errorMessage": "not here", "data": {}},
    }
    await peers.service("labsvc", lambda params: replies[params["name"]])
    rows = [{"method": name, "role": "handler", "options": {}, "service": "labsvc"} for name in replies]
    await peers.register(*rows)


@pytest.mark.parametrize("port", ["port", "ws_port"])
async def test_the_captured_conversation_is_the_same(
    session: aiohttp.ClientSession, front: Any, peers: Any, port: str
) -> None:
    """Message for message, byte for byte, on the main port and on the extra one."""
    await labsvc(peers)
    broadcast = await peers.listener()
    url = f"ws://127.0.0.1:{getattr(front, port)}/wss?uid=abc"
    async with session.ws_connect(url, compress=15) as socket:
        for sent, received in [
            ('{"service":"track","name":"ping","id__":"_1"}', '{"type__":"data","headers":[],"statusCode":200,"data":{"message":"pong"},"id__":"_1"}'),  # noqa: E501
            ('{"service":"track","name":"hello","id__":"_2"}', '{"type__":"data","headers":[],"statusCode":200,"data":{"message":"hi"},"id__":"_2"}'),  # noqa: E501
            ('{"service":"track","name":"page","id__":"_3","data":{"a":1},"page":{"url":"u"},"projectId":5}', '{"type__":"data","headers":[],"statusCode":200,"data":{"id":"ID"},"id__":"_3"}'),  # noqa: E501
            ('{"service":"labsvc","name":"dct","id__":"_4"}', '{"type__":"data","headers":[],"statusCode":200,"data":{"a":1},"id__":"_4"}'),  # noqa: E501
            ('{"service":"labsvc","name":"err404","id__":"_5"}', '{"type__":"error","statusCode":404,"errorMessage":"not here","data":{},"headers":[],"id__":"_5"}'),  # noqa: E501
            ("{bad", '{"type__":"error","headers":[],"statusCode":400,"errorMessage":"Bad Request"}'),
            ("[1]", '{"type__":"error","headers":[],"statusCode":400,"errorMessage":"Bad Request"}'),
            ('{"name":"x","id__":"_8"}', '{"type__":"error","headers":[],"statusCode":400,"errorMessage":"Request must contains \\"service\\" and \\"name","id__":"_8"}'),  # noqa: E501
            ('{"service":[1],"name":"x"}', '{"type__":"error","headers":[],"statusCode":400,"errorMessage":"Bad Request: `service` and `name` must be text or numbers"}'),  # noqa: E501
        ]:  # fmt: skip
            await socket.send_str(sent)
            answer = await socket.receive_str(timeout=3)
            data = json.loads(answer).get("data")
            event_id = data.get("id", "") if isinstance(data, dict) else ""
            assert answer == received.replace("ID", event_id)
    events = [json.loads(await asyncio.wait_for(broadcast.get(), 2))["params"] for _ in range(5)]
    page = events[2]
    assert list(page) == ["key", "name", "service", "channel", "data", "uid", "id", "time"]
    assert (page["uid"], page["channel"]) == ("abc", "ws")
    assert page["data"] == {
        "service": "track", "name": "page", "id__": "_3", "data": {"a": 1}, "page": {"url": "u"}, "projectId": 5,
    }  # fmt: skip
    assert broadcast.empty()
    assert await peers.redis.xlen("events") == 5


async def test_without_uid_the_connection_is_closed(session: aiohttp.ClientSession, front: Any) -> None:
    """Code 1005: a close without a status."""
    async with session.ws_connect(f"ws://127.0.0.1:{front.port}/wss") as socket:
        closed = await socket.receive(timeout=3)
        assert closed.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        assert closed.data in (0, 1005, None)


async def test_the_extra_port_speaks_nothing_else(session: aiohttp.ClientSession, front: Any) -> None:
    """Other paths and plain requests are a 400, and a broken handshake does not disturb the main port."""
    for path in ("/", "/wss", "/track/page"):
        async with session.get(f"http://127.0.0.1:{front.ws_port}{path}") as answer:
            assert answer.status == 400
    async with session.get(f"{front.url}/wss?uid=1", headers={"Upgrade": "websocket"}) as answer:
        assert answer.status == 400


async def test_too_large_messages_end_the_connection_only(session: aiohttp.ClientSession, front: Any) -> None:
    """The client hears why (1009); others go on."""
    async with session.ws_connect(f"ws://127.0.0.1:{front.port}/wss?uid=1") as socket:
        await socket.send_str('{"service":"track","name":"' + "x" * 200_000 + '"}')
        assert (await socket.receive(timeout=3)).data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
    async with session.ws_connect(f"ws://127.0.0.1:{front.port}/wss?uid=1") as socket:
        await socket.send_bytes(b'{"service":"track","name":"ping"}')
        assert json.loads(await socket.receive_str(timeout=3))["data"] == {"message": "pong"}


async def test_a_stopping_front_says_goodbye(own_redis: Any, start_front: Any, session: aiohttp.ClientSession) -> None:
    """Open connections are closed with 1001, and a client that does not answer holds nothing up."""
    front = start_front(own_redis.dsn)
    async with session.ws_connect(f"ws://127.0.0.1:{front.port}/wss?uid=1") as socket:
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(
            b"GET /wss?uid=2 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 101")
        began = asyncio.get_running_loop().time()
        stopping = asyncio.create_task(asyncio.to_thread(front.stop))
        assert (await socket.receive(timeout=3)).data == aiohttp.WSCloseCode.GOING_AWAY
        assert await stopping == 0
        assert asyncio.get_running_loop().time() - began < 4
        writer.close()
