"""Messages recorded from the original platform, replayed byte for byte, both ways (wire protocol, sections 2 to 5)."""

# ruff: noqa: E501, ASYNC110 - recorded messages stand as they were recorded; waits poll what has no event

from __future__ import annotations

import asyncio
import json

import pytest

from band.errors import RpcRemoteError
from band.responses import response
from band.service.lifecycle import Service

UA = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
UAPARSER = {
    "os_family": "Mac OS X", "os_version": [10, 15, 7], "browser_family": "Chrome", "browser_version": [120, 0, 0],
    "device_family": "Mac", "device_brand": "Apple", "device_model": "Mac", "is_bot": 0, "is_tables": 0, "is_mob": 0,
    "is_pc": 1,
}  # fmt: skip
MMGEO = {
    "country_en": "United Kingdom", "country_ru": "Великобритания", "country_iso": "GB", "city_en": "Boxford",
    "city_ru": "Боxфорд", "region_en": "England", "region_ru": "Енгланд", "region_iso": "ENG",
}  # fmt: skip

ENRICH_REQUEST = (
    '{"jsonrpc":"2.0","from":"front","to":"enrich","id":"ci4","method":"enrich:enrich:front","params":'
    f'{{"key":"in.gen.track.page","ip":"2.125.160.216","ua":"{UA}"}}}}'
)
UAPARSER_REPLY = (
    '{"jsonrpc":"2.0","result":{"os_family":"Mac OS X","os_version":[10,15,7],"browser_family":"Chrome","browser_version"'
    ':[120,0,0],"device_family":"Mac","device_brand":"Apple","device_model":"Mac","is_bot":0,"is_tables":0,"is_mob":0,'
    '"is_pc":1},"id":"ci4","from":"uaparser","to":"front"}'
)
MMGEO_REPLY = (
    '{"jsonrpc":"2.0","result":{"country_en":"United Kingdom","country_ru":"Великобритания","country_iso":"GB","city_en":'
    '"Boxford","city_ru":"Боxфорд","region_en":"England","region_ru":"Енгланд","region_iso":"ENG"},"id":"ci4","from":'
    '"mmgeo","to":"front"}'
)
STATUS_REQUEST = '{"jsonrpc": "2.0", "method": "uaparser:__status:director", "params": {}, "id": "41"}'
STATUS_REPLY = (
    '{"jsonrpc":"2.0","result":{"type__":"data","statusCode":200,"data":{"name":"uaparser","app_started":1795470409131,'
    '"app_uptime":25322,"app_state":"running","register":[{"method":"enrich","role":"enricher","options":{"keys":'
    '["in.gen.track"],"props":{"ua":"td.ua"}}}]}},"id":"41","from":"uaparser","to":"director"}'
)
HANDLER_REQUEST = (
    '{"jsonrpc":"2.0","from":"front","to":"labsvc","id":"1aph","method":"labsvc:*:front","params":{"key":'
    '"in.gen.wild.anything","channel":"http","service":"wild","name":"anything","projectId":0,"uid":"7530752589072171008",'
    '"td":{"ip":"127.0.0.1","ua":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 '
    'Safari/537.36"},"data":{},"id":"7530752589072171009","time":1795471331852}}'
)
HANDLER_REPLY = '{"jsonrpc":"2.0","result":{"wild":"anything","key":"in.gen.wild.anything"},"id":"1aph","from":"labsvc","to":"front"}'
HEARTBEAT_FRONT = (
    '{"jsonrpc":"2.0","from":"front","to":"director","method":"director:__iamalive:front","params":{"name":"front"}}'
)
HEARTBEAT_PYTHON = '{"jsonrpc": "2.0", "method": "director:__iamalive:uaparser", "params": {"name": "uaparser"}}'
BROADCAST = (
    '{"jsonrpc":"2.0","from":"front","to":"broadcast","method":"broadcast:broadcast:front","params":{"key":"in.gen.track.page'
    '","channel":"http","service":"track","name":"page","projectId":1617632140,"uid":"6410748586712844288","td":{"ip":'
    f'"2.125.160.216","ua":"{UA}","ref":"https://rock.st/docs/","host":"t.example.com"}},"data":{{"service":"track","name":'
    '"page","data":{},"projectId":1617632140,"uid":"6410748586712844288","user":{"ts":1537243840171,"tz":"Moscow Standard '
    'Time","tzo":180000},"page":{"title":"Rockstat platform","ref":"","url":"https://rock.st/docs/"},"char":{"ls":true,"sb":'
    'true},"lib":{"id":"web-sdk","v":40400000,"sv":"4.0.0"},"mmgeo":{"city_ru":"Боxфорд"},"fpid":"8063120466863574367"},"id":'
    '"7530741854237622272","time":1795468772471}}'
)


# --- ours answers the original's director and front


async def test_original_front_asks_our_enrichers(run_service, peer):
    """Two enrichers of ours answer front's recorded request with the recorded bytes."""
    uaparser, mmgeo = Service(), Service()
    asked = []

    @uaparser.expose.enricher(keys=["in.gen.track"], props={"ua": "td.ua"})
    async def enrich(ua, **params):
        asked.append(ua)
        return UAPARSER

    @mmgeo.expose.enricher(keys=["in.gen.track"], props={"ip": "td.ip"})
    async def enrich(ip, **params):  # noqa: F811 - front calls every enricher's function `enrich`
        asked.append(ip)
        return MMGEO

    await run_service(uaparser, "uaparser")
    await run_service(mmgeo, "mmgeo")
    front = await peer("front")
    assert await front.publish("enrich", ENRICH_REQUEST) >= 2
    answers = {await front.next(), await front.next()}
    assert answers == {UAPARSER_REPLY.encode(), MMGEO_REPLY.encode()}
    assert set(asked) == {UA, "2.125.160.216"}


async def test_original_director_asks_our_status(run_service, peer):
    """Our status has the recorded envelope, keys and rows; what we add comes after."""
    uaparser = Service()

    @uaparser.expose.enricher(keys=["in.gen.track"], props={"ua": "td.ua"})
    async def enrich(ua, **params):
        return UAPARSER

    await run_service(uaparser, "uaparser")
    director = await peer("director")
    raw = await director.ask("uaparser", STATUS_REQUEST)
    while b"__iamalive" in raw:
        raw = await director.next()
    ours, recorded = json.loads(raw), json.loads(STATUS_REPLY)
    assert raw.startswith(STATUS_REPLY[: STATUS_REPLY.index("1795470409131")].encode())
    assert list(ours) == list(recorded)
    data, expected = ours["result"]["data"], recorded["result"]["data"]
    assert list(data)[: len(expected)] == list(expected)
    assert {key: type(value) for key, value in expected.items()} == {key: type(data[key]) for key in expected}
    assert (data["name"], data["app_state"], data["register"]) == ("uaparser", "running", expected["register"])
    assert raw.endswith(b',"id":"41","from":"uaparser","to":"director"}')


async def test_original_front_calls_our_handlers(run_service, peer):
    """The recorded wildcard call and every typed response, byte for byte (redirect: `\\/` is a spelling of `/`)."""
    labsvc = Service()
    got = []

    @labsvc.expose.handler(name="*", alias="wild")
    async def wild(name, key, **event):
        got.append(event)
        return {"wild": name, "key": key}

    @labsvc.expose.handler()
    async def typed(which):
        return {
            "1ao7": response.data({"a": 1}, statusCode=201),
            "1aob": response.error("not here", statusCode=404),
            "1aod": response.redirect("https://example.com/x?y=1", statusCode=301),
            "1aof": response.pixel(),
        }[which]

    await run_service(labsvc, "labsvc")
    front = await peer("front")
    assert await front.ask("labsvc", HANDLER_REQUEST) == HANDLER_REPLY.encode()
    assert got[0]["uid"] == "7530752589072171008"
    assert got[0]["time"] == 1795471331852
    recorded = {
        "1ao7": '{"type__":"data","statusCode":201,"data":{"a":1}},"id":"1ao7"',
        "1aob": '{"type__":"error","statusCode":404,"errorMessage":"not here","data":{}},"id":"1aob"',
        "1aod": '{"type__":"redirect","location":"https:\\/\\/example.com\\/x?y=1","statusCode":301,"data":{}},"id":"1aod"',
        "1aof": '{"type__":"pixel","data":{}},"id":"1aof"',
    }
    for number, middle in recorded.items():
        request = {
            "jsonrpc": "2.0", "from": "front", "to": "labsvc", "id": number, "method": "labsvc:typed:front",
            "params": {"which": number},
        }  # fmt: skip
        raw = await front.ask("labsvc", request)
        whole = f'{{"jsonrpc":"2.0","result":{middle},"from":"labsvc","to":"front"}}'
        assert raw == whole.replace("\\/", "/").encode()
        assert json.loads(raw) == json.loads(whole)


async def test_original_front_broadcasts_to_our_listener(run_service, peer):
    """Every field of the recorded event arrives as a keyword argument, large numbers and Cyrillic intact."""
    listener = Service()
    got = []

    @listener.expose.listener()
    async def broadcast(**event):
        got.append(event)

    await run_service(listener, "lab-listener", listen_all=True)
    front = await peer("front")
    assert await front.publish("broadcast", BROADCAST) >= 1
    async with asyncio.timeout(15):
        while not got:
            await asyncio.sleep(0.01)
    assert got == [json.loads(BROADCAST)["params"]]
    assert list(got[0]) == ["key", "channel", "service", "name", "projectId", "uid", "td", "data", "id", "time"]


# --- ours asks the original's services


@pytest.fixture
async def director(run_service):
    """A director of ours, as far as heartbeats and status go."""
    service = Service()
    service.alive = []  # type: ignore[attr-defined]

    @service.expose(name="__iamalive")
    async def iamalive(name, **params):
        service.alive.append(name)

    return await run_service(service, "director")


async def test_original_services_announce_themselves_to_our_director(director, peer):
    """The recorded heartbeats of front and of a Python service, with and without spaces and fields."""
    other = await peer()
    assert await other.publish("director", HEARTBEAT_FRONT) >= 1
    assert await other.publish("director", HEARTBEAT_PYTHON) >= 1
    async with asyncio.timeout(15):
        while len(director.alive) < 2:
            await asyncio.sleep(0.01)
    assert director.alive == ["front", "uaparser"]


async def replay(peer_, service, reply):
    """Take a request as the original service would, and send its recorded reply with this request's id."""
    request = await peer_.next_json()
    assert request["jsonrpc"] == "2.0"
    to, _, sender = request["method"].split(":")
    assert to == service
    assert isinstance(request["params"], dict)
    await peer_.publish(sender, reply.replace("ID", json.dumps(request["id"])))
    return request


async def test_our_director_understands_an_original_services_status(director, peer):
    """The recorded reply, in ujson's spelling, gives the rows."""
    uaparser = await peer("uaparser")
    task = asyncio.create_task(director.rpc.request("uaparser", "__status"))
    request = await replay(uaparser, "uaparser", STATUS_REPLY.replace('"41"', "ID"))
    assert request["method"] == "uaparser:__status:director"
    assert request["params"] == {}
    status = await task
    assert status["register"] == [
        {"method": "enrich", "role": "enricher", "options": {"keys": ["in.gen.track"], "props": {"ua": "td.ua"}}}
    ]


async def test_our_director_gives_registrations_to_an_original_front(director, peer):
    """`__status` with rows and a signed 64-bit hash leaves whole; front's object and its null are understood."""
    front = await peer("front")
    row = {"method": "enrich", "role": "enricher", "options": {"keys": ["in.gen.track"]}, "service": "uaparser"}
    answers = [
        (
            '{"jsonrpc":"2.0","id":ID,"from":"front","to":"director","result":{"app_state":"running","app_started":1795470449160,'
            '"app_uptime":5012,"methods":[]}}'
        ),
        '{"jsonrpc":"2.0","id":ID,"from":"front","to":"director","result":null}',
    ]
    got = []
    for answer in answers:
        task = asyncio.create_task(
            director.rpc.request("front", "__status", register=[row], state_hash=-8218291109963278300)
        )
        request = await replay(front, "front", answer)
        assert request["params"] == {"register": [row], "state_hash": -8218291109963278300}
        got.append(await task)
    assert got == [{"app_state": "running", "app_started": 1795470449160, "app_uptime": 5012, "methods": []}, None]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"jsonrpc":"2.0","result":{"u":"https:\\/\\/a.b\\/c"},"id":ID,"from":"x","to":"director"}', {"u": "https://a.b/c"}),
        ('{"jsonrpc":"2.0","result":"\\u0411o\\u0445","id":ID,"from":"x","to":"director"}', "Бoх"),
        ('{"jsonrpc":"2.0","result":"Боxфорд 😀","id":ID,"from":"x","to":"director"}', "Боxфорд 😀"),
        (' {\n "to" : "director" ,\t"result" : [ 1 , 2 ] , "id" : ID , "jsonrpc" : "2.0" }\r\n', [1, 2]),
        ('{"id":ID,"jsonrpc":"2.0","from":"x","to":"director","result":{"n":NaN},"extra":{"a":1}}', {"n": None}),
        ('{"id":ID,"jsonrpc":"2.0","result":18446744073709551616,"from":"x","to":"director"}', 2**64),
        ('{"id":ID,"jsonrpc":"2.0","result":false,"from":"x","to":"director"}', False),
    ],
    ids=["ujson-slashes", "ascii-escapes", "raw-unicode", "odd-spacing", "nan", "beyond-64-bit", "false"],
)  # fmt: skip
async def test_our_client_understands_every_spelling(director, peer, reply, expected):
    """Key order, spaces, escapes, and what only Python's json writes."""
    other = await peer("x")
    task = asyncio.create_task(director.rpc.call("x", "m"))
    await replay(other, "x", reply)
    result = await task
    if isinstance(result, dict) and "n" in result:
        assert result["n"] is None or result["n"] != result["n"]
    else:
        assert result == expected


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        ('{"code":-32000,"message":"Server error"}', -32000, "Server error"),
        ('{"code":-32602,"message":"Invalid params","data":null}', -32602, "Invalid params"),
        ('{"code":0,"message":"Cannot read properties of undefined","data":"TypeError: at \\/app\\/x.js:1"}', 0,
         "Cannot read properties of undefined"),
    ],
)  # fmt: skip
async def test_our_client_understands_original_errors(director, peer, error, code, text):
    """Python's codes without text, and front's code 0 with a JS stack as data, which stays out of the message."""
    other = await peer("x")
    task = asyncio.create_task(director.rpc.request("x", "m"))
    await replay(other, "x", f'{{"jsonrpc":"2.0","error":{error},"id":ID,"from":"x","to":"director"}}')
    with pytest.raises(RpcRemoteError) as caught:
        await task
    assert (caught.value.code, str(caught.value)) == (code, text)


async def test_our_front_like_caller_gathers_original_enrichers(run_service, peer):
    """A fan-out request of ours is one that original enrichers answer; their replies arrive whole."""
    ours = await run_service(Service(), "front-of-ours")
    original = await peer("enrich")
    params = {"key": "in.gen.track.page", "ip": "2.125.160.216", "ua": UA}
    task = asyncio.create_task(ours.rpc.scatter("enrich", "enrich", params, expect={"uaparser", "mmgeo"}, timeout=15))
    request = await original.next_json()
    to, method, sender = request["method"].split(":")
    assert (to, method, sender) == ("enrich", "enrich", "front-of-ours")
    assert request["params"] == params
    for reply in (UAPARSER_REPLY, MMGEO_REPLY):
        await original.publish(sender, reply.replace('"ci4"', json.dumps(request["id"])))
    found = await task
    assert found.results == {"uaparser": UAPARSER, "mmgeo": MMGEO}
    assert found.missing == set()


@pytest.mark.parametrize("request_id", ["ci4", "1aph", "7", 7, "99999", "255r"])
async def test_decimal_and_base36_ids_of_both_kinds_are_echoed(run_service, peer, request_id):
    """front's ids are base36 texts, Python's decimal ones, both may be numbers."""
    service = Service()
    service.expose(name="m")(lambda: 1)
    await run_service(service, "echo-ids")
    front = await peer("front")
    message = {
        "jsonrpc": "2.0",
        "from": "front",
        "to": "echo-ids",
        "id": request_id,
        "method": "echo-ids:m:front",
        "params": {},
    }
    assert (await front.ask("echo-ids", message)) == (
        f'{{"jsonrpc":"2.0","result":1,"id":{json.dumps(request_id)},"from":"echo-ids","to":"front"}}'.encode()
    )
