"""WebSocket clients of a real front: the captured conversation, and what can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
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
    url = f"ws://127.0.0.1:{getattr(front, port)}/wss?uid=6410748586712844288"
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
    assert list(page) == ["key", "name", "service", "channel", "data", "uid", "td", "id", "time", "project"]
    assert page["data"].pop("fpid")  # the original had no address here, so it had none of these two
    assert page["td"]["ip"] == "127.0.0.0"
    assert (page["uid"], page["channel"]) == ("6410748586712844288", "ws")
    assert page["data"] == {
        "service": "track", "name": "page", "id__": "_3", "data": {"a": 1}, "page": {"url": "u"}, "projectId": 5,
    }  # fmt: skip
    assert broadcast.empty()
    assert await peers.redis.xlen("events") == 5


async def test_its_events_are_enriched_by_what_the_handshake_told(
    session: aiohttp.ClientSession, front: Any, peers: Any
) -> None:
    """Address by the proxy's header, User-Agent and client hints go to enrichers; the address is stored truncated."""
    asked = await peers.service("mmgeo", lambda _params: {"city_en": "London"}, enricher=True)
    props = {"ip": "td.ip", "ua": "td.ua", "model": "td.ch.model"}
    options = {"keys": ["in.gen.track"], "props": props}
    await peers.register({"method": "enrich", "role": "enricher", "options": options, "service": "mmgeo"})
    headers = {
        "X-Forwarded-For": "81.2.69.142", "User-Agent": "UA/1", "Sec-CH-UA": '"B";v="1"', "Sec-CH-UA-Model": '"P"',
    }  # fmt: skip
    async with session.ws_connect(f"ws://127.0.0.1:{front.port}/wss?uid=5", headers=headers) as socket:
        for _ in range(2):
            await socket.send_json({"service": "track", "name": "page", "mmgeo": {"city_en": "Forgedville"}})
            await socket.receive(5)
    event = await peers.newest()
    assert [one["params"] for one in asked] == [{"ip": "81.2.69.142", "ua": "UA/1", "model": '"P"'}] * 2
    assert event["td"] == {"ip": "81.2.69.0", "ua": "UA/1", "ch": {"ua": '"B";v="1"', "model": '"P"'}}
    assert event["data"]["mmgeo"] == {"city_en": "London"}


async def test_half_characters_are_stored_as_the_replacement_character(
    session: aiohttp.ClientSession, front: Any, peers: Any
) -> None:
    """In text a half pair, in binary messages broken UTF-8 too: answered 200, and any reader can decode the event."""
    half = b'{"service":"track","name":"page","title":"Sale \\ud83d"}'
    async with session.ws_connect(f"ws://127.0.0.1:{front.port}/wss?uid=1234567890") as socket:
        await socket.send_str(half.decode())
        await socket.send_bytes(half.replace(b"\\ud83d", b"\xff"))
        for _ in range(2):
            assert json.loads(await socket.receive_str(timeout=3))["statusCode"] == 200
    stored = [fields[b"event"] for _, fields in await peers.redis.xrange("events")]
    assert [msgspec.json.decode(event)["data"]["title"] for event in stored] == ["Sale \ufffd"] * 2


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


def frame(opcode: int, payload: bytes, *, fin: bool = True, packed: bool = False, masked: bool = True) -> bytes:
    """A frame of a client, as strange as is asked for."""
    first = (0x80 if fin else 0) | (0x40 if packed else 0) | opcode
    size = len(payload)
    length = struct.pack("!B", size) if size < 126 else struct.pack("!BH", 126, size)
    length = bytes([length[0] | (0x80 if masked else 0)]) + length[1:]
    return bytes([first]) + length + (b"\0\0\0\0" if masked else b"") + payload


def deflated(text: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


@contextlib.asynccontextmanager
async def raw_socket(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection behind a handshake that allows packed messages; what is sent over it is up to the test."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /wss?uid=1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


PING = b'{"service":"track","name":"ping"}'


@pytest.mark.parametrize(
    "sent",
    [
        frame(1, deflated(b'{"service":"track","name":"x","a":"' + b"x" * 20_000_000 + b'"}'), packed=True),
        frame(1, b"not deflate at all", packed=True),
        frame(3, b"an opcode that nobody knows"),
        frame(1, b"\xff\xfe no text"),
        frame(0, b"the rest of nothing"),
        frame(1, b"{", fin=False) + frame(1, b"another beginning"),
        frame(9, b"x" * 126),
        b"\xff" * 200,
        b"\x81\xff" + struct.pack("!Q", 2**63),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["bomb", "unpacked", "opcode", "utf8", "continuation", "twice", "ping", "ones", "endless", "http"],
)
async def test_strange_frames_end_their_own_connection(
    session: aiohttp.ClientSession, front: Any, peers: Any, sent: bytes
) -> None:
    """Nothing of them becomes an event, their connection ends at once, and others are answered as ever."""
    before = await peers.redis.xlen("events")
    async with raw_socket(front.port) as (reader, writer):
        writer.write(sent)
        with contextlib.suppress(ConnectionError):
            answer = await asyncio.wait_for(reader.read(), 5)
            assert b'"statusCode":200' not in answer
    async with session.ws_connect(f"ws://127.0.0.1:{front.port}/wss?uid=1") as socket:
        await socket.send_bytes(PING)
        assert json.loads(await socket.receive_str(timeout=3))["data"] == {"message": "pong"}
    assert await peers.redis.xlen("events") == before + 1


async def test_messages_in_pieces_with_pings_between_are_events(front: Any, peers: Any) -> None:
    """A message may come in frames, packed or not, with a ping in the middle; each is answered once, in order."""
    packed = deflated(PING)
    async with raw_socket(front.port) as (reader, writer):
        writer.write(frame(1, PING[:10], fin=False) + frame(9, b"are you there") + frame(0, PING[10:]))
        writer.write(frame(2, packed[:5], fin=False, packed=True) + frame(0, packed[5:]))
        writer.write(frame(8, b""))
        answer = await asyncio.wait_for(reader.read(), 5)
    assert b"are you there" in answer
    assert await peers.redis.xlen("events") == 2


@pytest.mark.parametrize("name", ["constructor", "__proto__", "toString", "hasOwnProperty"])
async def test_names_of_prototypes_are_just_names(session: aiohttp.ClientSession, front: Any, name: str) -> None:
    """Over a WebSocket too: an answer with an id, where the original was silent for ever."""
    async with session.ws_connect(f"ws://127.0.0.1:{front.port}/wss?uid=1") as socket:
        await socket.send_str(json.dumps({"service": name, "name": name, name: {name: 1}, "id__": name}))
        answer = json.loads(await socket.receive_str(timeout=3))
    assert (answer["statusCode"], answer["id__"]) == (200, name)
    assert answer["data"]["id"]


async def test_a_client_that_reads_nothing_holds_nobody_up(session: aiohttp.ClientSession, front: Any) -> None:
    """Thousands of messages, no answer read: its own connection fills up and waits, others are answered as ever."""
    async with raw_socket(front.port) as (_, writer):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                while True:
                    writer.write(frame(1, PING) * 200)
                    await writer.drain()
        async with session.ws_connect(f"ws://127.0.0.1:{front.port}/wss?uid=2") as socket:
            await socket.send_bytes(PING)
            assert json.loads(await socket.receive_str(timeout=5))["data"] == {"message": "pong"}
