"""Front as it runs: real process, real Redis, real HTTP, peers that speak raw JSON-RPC."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest
from multidict import CIMultiDict
from yarl import URL

from band.errors import RpcRemoteError
from front.event.fingerprint import fpid

MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36"
)
GIF_SIZE = 43
UA_ROW = {
    "method": "enrich",
    "role": "enricher",
    "options": {"keys": ["in.gen.track"], "props": {"ua": "td.ua"}},
    "service": "uaparser",
}
GEO_ROW = {
    "method": "enrich",
    "role": "enricher",
    "options": {"keys": ["in.gen.track"], "props": {"ip": "td.ip", "key": "key"}},
    "service": "mmgeo",
}
UA_RESULT = {"os_family": "Mac OS X", "os_version": [10, 15, 7], "is_pc": 1}
GEO_RESULT = {"country_en": "United Kingdom", "country_ru": "Великобритания"}


def handler_row(method: str, **options: Any) -> dict[str, Any]:
    return {"method": method, "role": "handler", "options": options, "service": "labsvc"}


@pytest.fixture
async def http(front: Any) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"User-Agent": MAC}
    async with aiohttp.ClientSession(
        base_url=front.url, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session


SDK_BODY = (
    '{"service":"track","name":"page","data":{},"projectId":1617632140,"uid":"6410748586712844288",'
    '"user":{"ts":1537243840171,"tz":"Moscow Standard Time","tzo":180000},'
    '"page":{"title":"Rockstat platform","ref":"","url":"https://rock.st/docs/"},'
    '"sess":{"pageNum":1,"marks":{},"hasMarks":false},"lib":{"id":"web-sdk","v":40400000,"sv":"4.0.0"},'
    '"fpid":"from the client"}'
)


async def test_an_sdk_event_goes_the_whole_road(http: aiohttp.ClientSession, peers: Any) -> None:
    """Enriched by two services, answered in native form, stored and broadcast with the address truncated."""
    ua = await peers.service("uaparser", lambda _params: UA_RESULT, enricher=True)

    async def geo(_params: Any) -> Any:
        await asyncio.sleep(0.03)
        return GEO_RESULT

    await peers.service("mmgeo", geo, enricher=True)
    await peers.register(UA_ROW, GEO_ROW)
    await peers.redis.hset("s:6410748586712844288", "plan", '{"a":1}')
    broadcast = await peers.listener()
    headers = {
        "X-Real-IP": "2.125.160.216", "Referer": "https://rock.st/docs/", "X-Forwarded-Host": "t.example.com",
        "Content-Type": "text/plain;charset=UTF-8",
    }  # fmt: skip
    async with http.post("/band/t4k.json?", data=SDK_BODY, headers=headers) as answer:
        assert answer.status == 200
        assert "Content-Type" not in answer.headers
        native = await answer.text()
        assert answer.headers["Access-Control-Allow-Origin"] == "https://rock.st"
        assert answer.headers["Set-Cookie"].startswith(
            "uid=6410748586712844288; Domain=t.example.com; Path=/; Expires="
        )
    event_id = json.loads(native)["data"]["id"]
    assert native == f'{{"type__":"data","statusCode":200,"data":{{"id":"{event_id}"}},"native__":true}}'
    data = SDK_BODY[:-1].replace('"fpid":"from the client"', f'"fpid":"{fpid("2.125.160.0", MAC)}"')
    ua_json, geo_json = (
        json.dumps(result, separators=(",", ":"), ensure_ascii=False) for result in (UA_RESULT, GEO_RESULT)
    )
    message = (
        '{"key":"in.gen.track.page","channel":"http","service":"track","name":"page","projectId":1617632140,'
        '"uid":"6410748586712844288","td":{"ip":"2.125.160.0","ua":"' + MAC + '","ref":"https://rock.st/docs/",'
        '"host":"t.example.com"},"data":'
        + data
        + f',"uaparser":{ua_json},"mmgeo":{geo_json}'
        + ',"stored":{"plan":{"a":1}}},'
        f'"id":"{event_id}","time":{int(event_id) >> 22},"project":"default"}}'
    )
    head = '{"jsonrpc":"2.0","from":"front","to":"broadcast","method":"broadcast:broadcast:front","params":'
    assert (await asyncio.wait_for(broadcast.get(), 2)).decode() == f"{head}{message}}}"
    assert await peers.newest() == json.loads(message)
    assert ua[0]["params"] == {"ua": MAC, "ip": "2.125.160.216", "key": "in.gen.track.page"}
    assert ua[0]["method"] == "enrich:enrich:front"


async def test_replicas_of_a_group_fill_its_field(http: aiohttp.ClientSession, peers: Any) -> None:
    """The field is the group's that the replies name, and no client writes there; with one replica away too."""
    first = await peers.service("uap_1", lambda _params: {"os": "A"}, enricher=True, group="uap")
    await peers.service("uap_2", lambda _params: {"os": "B"}, enricher=True, group="uap")
    rows = [{**UA_ROW, "service": f"uap_{number}"} for number in (1, 2)]
    await peers.register(*rows)
    async with http.get("/track/page?uap[os]=forged&a=1") as answer:
        assert answer.status == 200
    data = (await peers.newest())["data"]
    assert data["uap"] == {"os": "A"}
    assert len(first) == 1
    assert "uap_1" not in data
    async with http.get("/order/x?uap[os]=forged&a=1") as answer:
        assert answer.status == 200
    assert (await peers.newest())["data"] == {"a": "1"}
    await peers.register(rows[1])
    async with http.get("/track/page") as answer:
        assert answer.status == 200
    assert (await peers.newest())["data"]["uap"] == {"os": "B"}


async def test_no_client_says_what_enrichers_say(http: aiohttp.ClientSession, peers: Any, front: Any) -> None:
    """Their names in `data` are front's to fill, also where an event is not enriched and while a service is away.

    A service that is called like a field of the clients shows: in the log, once, and in health.
    """
    await peers.service("weather", lambda _params: {"sky": "grey"}, enricher=True)
    row = {"method": "enrich", "role": "enricher", "options": {"keys": ["in.gen.track"]}, "service": "weather"}
    await peers.register(row)

    async def counted() -> float:
        async with http.get("/_band/metrics") as page:
            lines = [line for line in (await page.text()).splitlines() if line.startswith("band_front_forged_total")]
        return float(lines[-1].split()[-1]) if lines else 0.0

    before = await counted()
    forged = "mmgeo[city_en]=Forgedville&uaparser[os_family]=FakeOS&weather[sky]=blue&stored[plan]=pro&plan=free"
    async with http.get(f"/order/x?{forged}") as answer:
        assert answer.status == 200
    assert (await peers.newest())["data"] == {"plan": "free"}
    async with http.post("/track/x.json", json={"mmgeo": {"city_en": "Forgedville"}, "weather": 1}) as answer:
        assert answer.status == 200
    data = (await peers.newest())["data"]
    assert (data.get("mmgeo"), data["weather"]) == (None, {"sky": "grey"})
    assert await counted() == before + 2
    told = [line for line in front.log.read_text().splitlines() if "client_field_dropped" in line]
    assert len([line for line in told if "weather" in line]) == 1
    assert not [line for line in told if "mmgeo" in line or "stored" in line]
    async with http.get("/_band/health") as page:
        assert (await page.json())["checks"]["enrichers"]["dropped_from_clients"] == ["weather"]


@pytest.mark.parametrize(
    ("method", "path", "status", "content_type", "body"),
    [
        ("GET", "/track/page", 200, "application/json", '{"id":"ID"}'),
        ("POST", "/track/page", 200, "application/json", '{"id":"ID"}'),
        ("GET", "/track/page.gif", 200, "image/gif", None),
        ("GET", "/gif/x", 200, "image/gif", None),
        ("GET", "/pixel/x", 200, "image/gif", None),
        ("GET", "/band/t4k.gif?name=page", 200, None, '{"type__":"pixel","statusCode":200,"type":"pixel","native__":true}'),  # noqa: E501
        ("GET", "/hello/ping", 200, "application/json", '{"message":"pong"}'),
        ("GET", "/hello/hello", 200, "application/json", '{"message":"hi"}'),
        ("GET", "/hello/other", 404, "application/json", '{"message":"Not Found"}'),
        ("GET", "/foo/bar/9", 200, "application/json", '{"key":"in.gen","id":"ID"}'),
        ("GET", "/img/x", 200, "application/json", '{"key":"in.gen","id":"ID"}'),
        ("GET", "/track/constructor", 200, "application/json", '{"id":"ID"}'),
        ("GET", "/__proto__/toString?__proto__[x]=1", 200, "application/json", '{"key":"in.gen","id":"ID"}'),
        ("GET", "/track", 404, "application/json", '{"message":"Not Found"}'),
        ("GET", "//x", 404, "application/json", '{"message":"Not Found"}'),
        ("GET", "/redir/x", 400, "application/json", '{"message":"Parameter \\"to\\" is required"}'),
        ("GET", "/redir/x?to=/a%0d%0aX:%20y", 400, "application/json", None),
        ("GET", "/redir/x?to=https://evil.example/", 400, "application/json", None),
        ("GET", "/coffee", 418, "application/json", None),
        ("GET", "/", 200, "text/html", None),
        ("POST", "/", 200, "text/html", None),
        ("GET", "/favicon.ico", 200, "image/x-icon", None),
        ("PUT", "/track/page", 400, "application/json", None),
        ("HEAD", "/track/page", 400, "application/json", None),
        ("DELETE", "/track/page", 400, "application/json", None),
    ],
)  # fmt: skip
async def test_plain_urls_answer(
    http: aiohttp.ClientSession,
    front: Any,
    method: str,
    path: str,
    status: int,
    content_type: str | None,
    body: str | None,
) -> None:
    """Built-in handlers, defaults, specials and refusals, all with cookie and CORS headers."""
    async with http.request(
        method, URL(f"{front.url}{path}", encoded=True), data=b"" if method == "POST" else None
    ) as answer:
        text = await answer.read()
        assert answer.status == status
        assert answer.headers.get("Content-Type", "").partition(";")[0] == (content_type or "")
        assert answer.headers["Set-Cookie"].startswith("uid=")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
        assert int(answer.headers["X-Response-Time"]) >= 0
    if content_type == "image/gif":
        assert len(text) == GIF_SIZE
    if body is not None:
        event_id = json.loads(text).get("id", "ID")
        assert text.decode() == body.replace("ID", event_id)


async def test_options_answer_without_an_event(http: aiohttp.ClientSession, peers: Any) -> None:
    """A preflight gets its headers and the cookie; nothing is stored."""
    async with http.options("/track/page", headers={"Origin": "https://a.example"}) as answer:
        assert (answer.status, await answer.text()) == (200, "{}")
        assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert answer.headers["Access-Control-Allow-Methods"] == "POST,GET"
        assert answer.headers["Access-Control-Max-Age"] == "86400"
        assert "uid=" in answer.headers["Set-Cookie"]
    assert await peers.redis.exists("events") == 0


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{bad", {"Content-Type": "application/json"}, 400, "malformed_json"),
        (b"", {"Content-Type": "application/json"}, 400, "empty_body"),
        (b"[1,2]", {"Content-Type": "application/json"}, 400, "not_an_object"),
        (b'"str"', {"Content-Type": "application/json"}, 400, "not_an_object"),
        (b"null", {"Content-Type": "application/json"}, 400, "not_an_object"),
        (b"5", {"Content-Type": "application/json"}, 400, "not_an_object"),
        (b"[" * 90_000, {"Content-Type": "application/json"}, 400, "nested_json"),
        (b'{"service":{"a":1},"name":"x"}', {"Content-Type": "application/json"}, 400, "bad_name"),
        (b'{"service":"' + b"x" * 400 + b'","name":"x"}', {"Content-Type": "application/json"}, 400, "long_name"),
        (b'{"a":"' + b"x" * 103_000 + b'"}', {"Content-Type": "application/json"}, 413, "too_large"),
        (b"a=" + b"x" * 200_000, {}, 413, "too_large"),
        (gzip.compress(b'{"a":"' + b"x" * 5_000_000 + b'"}'), {"Content-Encoding": "gzip", "Content-Type": "application/json"}, 413, "too_large"),  # noqa: E501
        (b"not gzip", {"Content-Encoding": "gzip", "Content-Type": "application/json"}, 400, "broken_body"),
    ],
)  # fmt: skip
async def test_bad_bodies_are_refused_with_a_reason(
    http: aiohttp.ClientSession, peers: Any, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """400 for what is malformed, 413 for what is too large; a reason, the usual headers, no event, no stack."""
    async with http.post("/track", data=body, headers={"Origin": "https://a.example", **headers}) as answer:
        refusal = await answer.json()
        assert (answer.status, refusal["code"]) == (status, code)
        assert refusal["message"] == ("Payload Too Large" if status == 413 else "Bad Request")
        assert refusal["reason"]
        assert "Traceback" not in str(refusal)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert answer.headers["Set-Cookie"]
    assert await peers.redis.exists("events") == 0


HALF = b'{"service":"track","name":"page","title":"Sale \\ud83d","b\xff":"\xe2\x82"}'
"""A title that a site cut to a length, in the middle of an emoji, and bytes that are no UTF-8."""


async def test_half_characters_are_stored_as_the_replacement_character(http: aiohttp.ClientSession, peers: Any) -> None:
    """Of JSON, packed or not, of forms, queries, paths: 200, and what is in the stream any reader can decode."""
    form = b"title=Sale+\xe2\x82&cut=%ED%A0%BD"
    for path, data, headers in (
        ("/band/t4k.json", HALF, {}),
        ("/track/page", HALF, {"Content-Type": "application/json"}),
        ("/track/page.json", gzip.compress(HALF), {"Content-Encoding": "gzip"}),
        ("/track/page", form, {}),
        ("/track/page?title=%ED%A0%BD&a=%ff", b"title=Sale", {}),
        ("/track/%ED%A0%BD", HALF.replace(b"{", b'{"name":"\\udc00",'), {"Content-Type": "application/json"}),
    ):
        async with http.post(URL(path, encoded=True), data=data, headers=headers) as answer:
            assert answer.status == 200, (path, await answer.text())
    stored = [fields[b"event"] for _, fields in await peers.redis.xrange("events")]
    data = [msgspec.json.decode(event, strict=True)["data"] for event in stored]  # refuses what is not valid Unicode
    for sent in data[:3]:
        assert (sent["title"], sent["b\ufffd"]) == ("Sale \ufffd", "\ufffd")
    assert (data[3]["title"], data[3]["cut"]) == ("Sale \ufffd", "%ED%A0%BD")
    assert (data[4]["title"], data[4]["a"]) == ("%ED%A0%BD", "%ff")
    assert data[5]["title"] == "Sale \ufffd"


async def test_json_that_is_no_object_is_told_what_it_is(http: aiohttp.ClientSession, peers: Any) -> None:
    """On a whole path too, where the original said 200: the reason names the type, the metrics count the refusal."""

    async def counted() -> float:
        async with http.get("/_band/metrics") as page:
            lines = [
                line
                for line in (await page.text()).splitlines()
                if 'front_rejected_total{code="not_an_object"}' in line
            ]
        return float(lines[-1].split()[-1]) if lines else 0.0

    before = await counted()
    for body, kind in (("[1,2]", "an array"), ('"str"', "a string"), ("null", "null"), ("5", "a number")):
        async with http.post("/track/page.json", data=body) as answer:
            assert answer.status == 400
            assert kind in (await answer.json())["reason"]
    assert await counted() == before + 4
    assert await peers.redis.exists("events") == 0


async def test_bodies_up_to_the_limit_are_taken(http: aiohttp.ClientSession, peers: Any) -> None:
    """99 kB pass, by length and in chunks; gzip is unpacked; a form is read by its own rules."""
    body = b'{"a":"' + b"x" * 99 * 1024 + b'"}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    for data, headers in [(body, {}), (chunks(), {}), (gzip.compress(body), {"Content-Encoding": "gzip"})]:
        async with http.post("/track/big.json", data=data, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        assert len((await peers.newest())["data"]["a"]) == 99 * 1024
    async with http.post("/track/form?a=q", data="l[]=1&l[]=2&a=b") as answer:
        assert answer.status == 200
    assert (await peers.newest())["data"] == {"l": {"0": ["1", "2"]}, "a": "q"} | {
        "fpid": (await peers.newest())["data"]["fpid"]
    }


async def test_hostile_headers_and_paths_are_survived(front: Any, peers: Any) -> None:
    """Raw bytes that are no text, an evil forwarded host, an absolute target: an answer each time, never a 500."""
    for lines in (
        b"GET /track/\xe9\xff?x=\xff%ff HTTP/1.1",
        b"GET http://other.example/track/page HTTP/1.1",
        b"GET /track/page HTTP/1.1\r\nUser-Agent: Jos\xe9\r\nReferer: \xff\xfe\r\nCookie: uid=\xff",
        b"GET /track/page HTTP/1.1\r\nX-Forwarded-Host: a.b; Secure=no\r\nOrigin: \xe9",
        b"GET /redir/x?to=/%0d%0aSet-Cookie:a=b HTTP/1.1",
        b"GET /redir/x?to=/%D0%B6 HTTP/1.1",
        b"GET /track/page?" + b"a[" * 3000 + b" HTTP/1.1",
        b"GET /track/page HTTP/1.1\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 2.125.160.216",
        b"POST /track/page HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(
            lines + b"\r\nHost: t.example\r\nConnection: close\r\n\r\n" + (b"a=1" if b"POST" in lines else b"")
        )
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        final = answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        assert final.split(b" ", 2)[1] in (b"200", b"302", b"400"), answer
        assert b"Set-Cookie:a" not in answer
        assert b"Domain=" not in answer
        if b"Expect" in lines:
            assert answer.startswith(b"HTTP/1.1 100 Continue")


async def test_a_chain_of_proxies_in_several_lines_is_one_chain(http: aiohttp.ClientSession, peers: Any) -> None:
    """The client's own line stands first and does not count."""
    lines = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-For", "2.125.160.216")]
    async with http.get("/track/page", headers=CIMultiDict(lines)) as answer:
        assert answer.status == 200
    assert (await peers.newest())["td"]["ip"] == "2.125.160.0"


async def test_what_is_no_http_is_refused_without_a_stack(front: Any) -> None:
    """Garbage, a line too long, a header too long, a false length: a 400 or a closed connection, no inner text."""
    for data in (
        b"\x16\x03\x01\x02\x00 garbage\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"POST /track/page HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"POST /track/page HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(2000), 5)
        writer.close()
        assert answer == b"" or answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), answer
        assert b"Traceback" not in answer
        assert b".py" not in answer
    assert "Traceback" not in front.log.read_text()


async def test_redirects_stay_on_our_site(http: aiohttp.ClientSession) -> None:
    """The host that the request came to is ours; the native form has no Location."""
    url = "/away/x?to=http%3A%2F%2Ft.shop.example%2Fnext"
    async with http.get(url, headers={"Host": "t.shop.example"}, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "http://t.shop.example/next")
        assert answer.headers["Content-Type"] == "text/html"
    async with http.get(f"/band{url}", headers={"Host": "t.shop.example"}, allow_redirects=False) as answer:
        assert answer.status == 302
        assert "Location" not in answer.headers


async def test_a_handler_answers_the_client(http: aiohttp.ClientSession, peers: Any) -> None:
    """It gets the whole message under its own method; the event is stored whatever it answers."""
    replies: dict[str, Any] = {
        "echo": {"a": 1},
        "made": {"type__": "data", "statusCode": 201, "data": {"b": 2}, "headers": [["X-Own", "1"]]},
        "bad": {"type__": "error", "statusCode": 404, "errorMessage": "not here", "data": {}},
        "go": {"type__": "redirect", "location": "https://anywhere.example/", "statusCode": 301, "data": {}},
    }

    def answer_it(params: dict[str, Any]) -> Any:
        if params["name"] == "fails":
            raise ValueError("Server error")
        return peers.SILENCE if params["name"] == "silent" else replies[params["name"]]

    seen = await peers.service("labsvc", answer_it)
    await peers.register(*(handler_row(name) for name in (*replies, "fails")), handler_row("silent", timeout=120))
    async with http.get("/labsvc/echo/7?x=1", headers={"X-Real-IP": "2.125.160.216"}) as answer:
        assert (answer.status, await answer.json()) == (200, {"a": 1})
    params = seen[0]["params"]
    assert seen[0]["method"] == "labsvc:echo:front"
    assert list(params) == [
        "key",
        "channel",
        "service",
        "name",
        "projectId",
        "uid",
        "td",
        "data",
        "id",
        "time",
        "project",
    ]
    assert (params["projectId"], params["data"], params["td"]["ip"]) == (7, {"x": "1"}, "2.125.160.0")
    async with http.get("/labsvc/made") as answer:
        assert (answer.status, answer.headers["X-Own"], await answer.json()) == (201, "1", {"b": 2})
    async with http.get("/band/labsvc/bad") as answer:
        assert (answer.status, await answer.text()) == (
            404, '{"type__":"error","statusCode":404,"errorMessage":"not here","data":{},"native__":true}',
        )  # fmt: skip
    async with http.get("/labsvc/go", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, "https://anywhere.example/")
    async with http.get("/labsvc/fails") as answer:
        assert (answer.status, await answer.json()) == (500, {"message": "Server error"})
    began = time.monotonic()
    async with http.get("/labsvc/silent") as answer:
        assert (answer.status, await answer.json()) == (500, {"message": "Request timeout"})
    assert 0.1 < time.monotonic() - began < 0.3
    async with http.get("/labsvc/unknown") as answer:
        assert (await answer.json())["key"] == "in.gen.labsvc"
    assert await peers.redis.xlen("events") == 7


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        ({"message": "data.price: expected `int`, got `str`", "path": "$.data.price"}, 422,
         "Invalid params: data.price: expected `int`, got `str`"),
        ({"message": "got an unexpected keyword argument 'td'"}, 500, "Invalid params"),
        (None, 500, "Invalid params"),
    ],
)  # fmt: skip
async def test_a_value_that_a_handler_refuses_is_the_visitors_mistake(
    http: aiohttp.ClientSession, peers: Any, data: Any, status: int, said: str
) -> None:
    """422 where the handler's annotations name the value; else 500, as in the original."""

    def refuse(params: dict[str, Any]) -> Any:
        raise RpcRemoteError(-32602, "Invalid params", data)

    await peers.service("labsvc", refuse)
    await peers.register(handler_row("buy"))
    async with http.get("/labsvc/buy?price=much") as answer:
        assert (answer.status, await answer.json()) == (status, {"message": said})


async def test_a_handler_that_is_gone_is_told_of_at_once(http: aiohttp.ClientSession, peers: Any) -> None:
    """Nobody listens: a 500 without waiting, and the event is kept."""
    await peers.register(handler_row("echo"))
    began = time.monotonic()
    async with http.get("/labsvc/echo") as answer:
        assert answer.status == 500
    assert time.monotonic() - began < 0.15
    assert await peers.redis.xlen("events") == 1


async def test_registrations_are_replaced_as_a_whole(http: aiohttp.ClientSession, peers: Any) -> None:
    """An empty hash is ignored, the same hash is answered null, a new one takes rows away again."""
    status = await peers.register(handler_row("echo", timeout=100), UA_ROW)
    assert status["result"]["app_state"] == "running"
    assert status["result"]["methods"] == []
    assert (await peers.call_front("handlers", {}))["result"] == {
        "in.gen.labsvc.echo": ["labsvc", "echo", {"timeout": 100}]
    }
    enrichers = (await peers.call_front("enrichers", {}))["result"]
    assert enrichers == {"uaparser": {"method": "enrich", **UA_ROW["options"], "absent": False}}
    empty = await peers.call_front("__status", {"register": [], "state_hash": ""})
    assert empty["result"]["app_state"] == "running"
    same = await peers.call_front("__status", {"register": [], "state_hash": peers.last_hash})
    assert same["result"] is None
    assert (await peers.call_front("handlers", {}))["result"] != {}
    await peers.register()
    assert (await peers.call_front("handlers", {}))["result"] == {}
    assert (await peers.call_front("enrichers", {}))["result"] == {}


async def timed(http: aiohttp.ClientSession) -> float:
    began = time.monotonic()
    async with http.get("/track/page") as answer:
        assert answer.status == 200
    return time.monotonic() - began


async def test_odd_enrichers_cost_no_extra_time(http: aiohttp.ClientSession, peers: Any) -> None:
    """Errors, aliases and double matches end as soon as everybody has answered."""

    def fail(_params: Any) -> Any:
        raise ValueError("Server error")

    await peers.service("uaparser", lambda _params: UA_RESULT, enricher=True)
    await peers.service("mmgeo", fail, enricher=True)
    options = {"keys": ["in.gen.track", "in.gen.track.page"], "alias": "ua"}
    await peers.register({**UA_ROW, "options": options}, GEO_ROW)
    assert min([await timed(http) for _ in range(3)]) < 0.1
    data = (await peers.newest())["data"]
    assert data["uaparser"] == UA_RESULT
    assert "mmgeo" not in data


async def test_a_dead_enricher_is_soon_not_waited_for(http: aiohttp.ClientSession, peers: Any, front: Any) -> None:
    """The first events wait for it, later ones do not; health tells of it; its row's end or its answer mends it."""
    await peers.service("mmgeo", lambda _params: GEO_RESULT, enricher=True)
    await peers.register(UA_ROW, GEO_ROW)
    assert await timed(http) > 0.19
    for _ in range(4):
        await timed(http)
    assert min([await timed(http) for _ in range(3)]) < 0.1
    assert (await peers.newest())["data"]["mmgeo"] == GEO_RESULT
    async with http.get("/_band/health") as answer:
        facts = await answer.json()
        assert (answer.status, facts["status"]) == (200, "degraded")
        assert facts["checks"]["enrichers"]["absent"] == ["uaparser"]
        assert "/logs/NAME" in facts["checks"]["enrichers"]["hint"]
    await peers.service("uaparser", lambda _params: UA_RESULT, enricher=True)
    await asyncio.sleep(1.3)
    await timed(http)
    assert (await peers.newest())["data"]["uaparser"] == UA_RESULT


async def test_a_visitor_is_known_by_a_cookie_in_any_of_several_headers(http: aiohttp.ClientSession) -> None:
    """HTTP/2 clients split cookies, and not every proxy joins them; its value may be percent-encoded."""
    known = "uid=6410748586712844288"
    for cookies in ((known, "a=1"), ("a=1", known), ("a=b; uid=64107485867128442%38%38",)):
        lines = CIMultiDict([("Cookie", cookie) for cookie in cookies])
        async with http.get("/track/page", headers=lines) as answer:
            assert answer.headers["Set-Cookie"].startswith(f"{known}; ")


async def test_the_uid_and_cookie_of_a_visitor_stay(http: aiohttp.ClientSession, peers: Any) -> None:
    """The cookie counts when nothing better is given; data keeps the raw value; an id follows a new uid."""
    async with http.get("/track/page", headers={"Cookie": "a=b; uid=6410748586712844288"}) as answer:
        assert answer.headers["Set-Cookie"].startswith("uid=6410748586712844288; Path=/; ")
    async with http.post(
        "/track/page.json?", data='{"uid":1234567890}', headers={"Cookie": "uid=6410748586712844288"}
    ) as answer:
        assert answer.headers["Set-Cookie"].startswith("uid=1234567890; ")
    assert (await peers.newest())["uid"] == 1234567890
    async with http.get("/track/page?uid=bad") as answer:
        uid = answer.headers["Set-Cookie"].split(";")[0].removeprefix("uid=")
    event = await peers.newest()
    assert (event["uid"], event["data"]["uid"]) == (uid, "bad")
    assert 0 < int(event["id"]) - int(uid) <= 1 << 23
