"""The HTTP port of a service, asked by a real client."""

from __future__ import annotations

import asyncio
import io

import aiohttp
import pytest
from aiohttp import web

from band.errors import SettingsError
from band.responses import response
from band.service.lifecycle import Service


@pytest.fixture
async def lab(run_service):
    """A service with a path of each kind."""
    service = Service()

    @service.expose()
    async def echo(**params):
        return params

    @service.expose(path="/users/{user}/{what}")
    async def user(user, what, **params):
        return [user, what, params]

    @service.expose()
    async def typed(kind):
        return {
            "data": response.data({"a": 1}, statusCode=201),
            "text": response.data("text"),
            "error": response.error("not here", statusCode=404),
            "redirect": response.redirect("https://example.com/x?y=1", statusCode=301),
            "crlf": response.redirect("/x\r\nSet-Cookie: a=b"),
            "pixel": response.pixel(),
            "own": web.Response(text="own", status=203),
        }[kind]

    @service.expose()
    async def add(a, b=1):
        return int(a) + int(b)

    @service.expose()
    async def stream(n, fail_at=None):
        for i in range(int(n)):
            if fail_at is not None and i == int(fail_at):
                raise RuntimeError("broke in the middle")
            yield {"line": i} if i % 2 else f"text{i};"
            await asyncio.sleep(0)

    @service.expose()
    def returns_stream():
        async def items():
            yield b"raw"

        return items()

    @service.expose()
    async def fail():
        raise ValueError("see https://user:hunter2@host/x")

    @service.expose()
    async def not_found():
        raise web.HTTPNotFound(text="nothing")

    @service.expose()
    async def nonsense():
        return object()

    @service.expose(name="other", path="/echo")
    async def other():
        return "never"

    @service.expose.handler(name="*")
    async def anything(**params):
        return params

    async def own_route(_request):
        return web.Response(text="mine")

    service.dome.routes.append(web.get("/route", own_route))
    return await run_service(service)


@pytest.fixture
async def http(lab):
    async with aiohttp.ClientSession(f"http://127.0.0.1:{lab.port}") as session:
        yield session


async def test_query_json_form_and_path_become_arguments(http):
    """Later ones win: query, then body, then path variables."""
    async with http.get("/echo", params={"a": "1", "b": "2"}) as answer:
        assert await answer.json() == {"a": "1", "b": "2"}
        assert answer.content_type == "application/json"
    async with http.post("/echo", params={"a": "1", "b": "2"}, json={"b": [3], "c": None}) as answer:
        assert await answer.json() == {"a": "1", "b": [3], "c": None}
    async with http.post("/echo", data={"f": "x y"}) as answer:
        assert await answer.json() == {"f": "x y"}
    async with http.post("/users/42/visits", params={"user": "evil"}, json={"what": "no", "z": 1}) as answer:
        assert await answer.json() == ["42", "visits", {"z": 1}]
    async with http.post("/echo", data=b"", headers={"Content-Type": "application/json"}) as answer:
        assert await answer.json() == {}


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("data", 201, b'{"a":1}'),
        ("text", 200, b'"text"'),
        ("error", 404, b'{"message":"not here","data":{}}'),
        ("own", 203, b"own"),
    ],
)
async def test_typed_responses(http, kind, status, body):
    """Status code and body follow the type; the original answered every error with 200 and {}."""
    async with http.get("/typed", params={"kind": kind}) as answer:
        assert (answer.status, await answer.read()) == (status, body)


async def test_redirect_and_pixel(http):
    """A redirect has its Location, whose line ends cannot become headers; a pixel is a 43-byte GIF."""
    async with http.get("/typed?kind=redirect", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, "https://example.com/x?y=1")
    async with http.get("/typed?kind=crlf", allow_redirects=False) as answer:
        assert answer.status == 302
        assert "Set-Cookie" not in answer.headers
    async with http.get("/typed?kind=pixel") as answer:
        body = await answer.read()
        assert (answer.content_type, len(body), body[:6]) == ("image/gif", 43, b"GIF89a")


EVIL = {"Origin": "http://evil.example"}


@pytest.mark.parametrize(
    "headers",
    [
        EVIL,
        {"Host": "evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Referer": "http://evil.example/page"},
        {"User-Agent": "Mozilla/5.0"},
    ],
)
async def test_pages_of_other_sites_call_nothing(http, headers):
    """A foreign page reaches no exposed function, by GET, POST or a preflight; the response says why."""
    for method in ("GET", "POST", "OPTIONS"):
        async with http.request(method, "/echo", headers=headers) as answer:
            assert answer.status == 403, method
            assert "Access-Control-Allow-Origin" not in answer.headers
    async with http.get("/fail", headers=headers) as answer:
        assert answer.status == 403


async def test_no_response_may_be_read_by_pages_of_other_sites(http):
    """There is no CORS header on anything by default; OPTIONS is answered."""
    async with http.options("/echo") as answer:
        assert (answer.status, await answer.json()) == (200, {})
    for path in ("/echo", "/typed?kind=pixel", "/typed?kind=error", "/fail", "/stream?n=1", "/health", "/route"):
        async with http.get(path) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers, path
            await answer.read()
        async with http.get(path, headers=EVIL) as answer:
            assert answer.status == 403, path


async def test_a_page_may_be_opened_by_a_browser_that_says_nothing(http):
    """What is no exposed function changes nothing on GET: health, metrics, status, the service's own pages."""
    for path, status in (("/health", 200), ("/metrics", 200), ("/__status", 200), ("/route", 200), ("/echo", 403)):
        async with http.get(path, headers={"User-Agent": "Mozilla/5.0"}) as answer:
            assert answer.status == status, path


async def test_names_and_origins_can_be_allowed(run_service):
    """`allowed_hosts` adds a name; pages of `allowed_origins` may call, ask beforehand, and read what comes back."""
    service = Service()

    @service.expose()
    async def echo(**params):
        return params

    @service.expose()
    async def stream():
        yield b"x"

    allowed = {"allowed_hosts": frozenset({"panel.example"}), "allowed_origins": frozenset({"https://app.example"})}
    await run_service(service, **allowed)
    page = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as session:
        async with session.get("/echo", headers={"Host": "panel.example"}) as answer:
            assert answer.status == 200
        asked = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        for method, path, headers in (
            ("OPTIONS", "/echo", asked), ("POST", "/echo", page), ("GET", "/stream", page), ("GET", "/none", page),
        ):  # fmt: skip
            async with session.request(method, path, headers=headers) as answer:
                assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example", path
                assert answer.headers["Vary"] == "Origin"
                assert answer.status == (404 if path == "/none" else 200)
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        async with session.get("/echo", headers={**page, **EVIL}) as answer:
            assert answer.status == 403


async def test_a_function_with_http_false_is_called_over_rpc_only(run_service, peer):
    """It has no path; the same name without `http=False` has one."""
    service = Service()

    @service.expose(http=False)
    async def secret():
        return "only here"

    @service.expose(path="")
    async def common():
        return "everywhere"

    await run_service(service, name="labsvc")
    lab = await peer("lab")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as session:
        for path, status in (("/secret", 404), ("/", 404), ("/common", 200)):
            async with session.get(path) as answer:
                assert answer.status == status, path
    await lab.subscribe("lab")
    request = {"jsonrpc": "2.0", "method": "labsvc:secret:lab", "params": {}, "id": "1"}
    assert (await lab.ask_json("labsvc", request))["result"] == "only here"


async def test_the_status_is_on_the_port_too(run_service):
    """`/__status` answers what RPC's `__status` does, as in the original; what a request brings along is ignored."""
    service = Service()
    given = []

    @service.expose(name="__status")
    async def status(**params):
        given.append(params)
        return response.data({"name": "labsvc"})

    await run_service(service, name="labsvc")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as session:
        async with session.get("/__status?register=1") as answer:
            assert (answer.status, await answer.json()) == (200, {"name": "labsvc"})
        async with session.post("/__status", json={"register": [], "state_hash": "x"}) as answer:
            assert answer.status == 200
        async with session.get("/__status", headers=EVIL) as answer:
            assert answer.status == 403
    assert given == [{}, {}]


async def test_async_generator_is_streamed(http):
    """Items leave as they come: bytes and texts as they are, anything else as JSON lines."""
    async with http.get("/stream?n=4") as answer:
        assert (answer.status, await answer.read()) == (200, b'text0;{"line":1}\ntext2;{"line":3}\n')
    async with http.get("/returns_stream") as answer:
        assert await answer.read() == b"raw"
    async with http.get("/stream?n=0") as answer:
        assert (answer.status, await answer.read()) == (200, b"")


async def test_broken_stream_does_not_look_complete(http):
    """A generator that fails midway breaks the connection: the client must not take the part for the whole."""
    async with http.get("/stream?n=3&fail_at=1") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    async with http.get("/stream?n=3&fail_at=0") as answer:
        assert answer.status == 500
        assert "broke in the middle" in await answer.text()
    async with http.get("/stream") as answer:
        assert answer.status == 400


async def test_errors_say_what_is_wrong_and_keep_secrets(http):
    """400 for what the client did, 500 for what the handler did, without passwords and stacks."""
    for request, status, word in [
        (http.get("/add"), 400, "missing a required argument"),
        (http.get("/add?a=1&z=2"), 400, "unexpected keyword argument"),
        (http.post("/add", data=b"{oops", headers={"Content-Type": "application/json"}), 400, "not JSON"),
        (http.post("/add", json=[1]), 400, "JSON object"),
        (http.post("/add", data=b"x", headers={"Content-Type": "multipart/form-data"}), 400, "form"),
        (http.get("/add?a=x"), 500, "ValueError: invalid literal"),
        (http.get("/fail"), 500, "ValueError: see https://user:***@host/x"),
        (http.get("/nonsense"), 500, "TypeError"),
        (http.get("/not_found"), 404, "nothing"),
        (http.get("/nowhere"), 404, ""),
    ]:
        async with request as answer:
            text = await answer.text()
            assert (answer.status, word in text) == (status, True), text
            assert "hunter2" not in text
            assert "Traceback" not in text


async def test_too_large_a_body_is_refused(http):
    """More than 2 MiB is 413, not memory."""
    async with http.post(
        "/echo", data=io.BytesIO(b"x" * (2 * 1024 * 1024 + 1)), headers={"Content-Type": "application/json"}
    ) as answer:
        assert answer.status == 413


async def test_own_routes_and_paths_taken_twice(http):
    """`dome.routes` are served; of two functions on one path the first wins, and the service still starts."""
    async with http.get("/route") as answer:
        assert await answer.text() == "mine"
    async with http.get("/echo") as answer:
        assert await answer.json() == {}


async def test_calls_over_http_are_counted(http):
    """The metrics show calls by method and outcome, over HTTP too, with their duration."""
    for path in ("/add?a=1", "/add?a=2", "/add", "/fail"):
        async with http.get(path) as answer:
            await answer.read()
    async with http.get("/metrics") as answer:
        text = await answer.text()
        assert answer.content_type == "text/plain"
    assert 'band_calls_total{method="add",outcome="ok"} 2.0' in text
    assert 'band_calls_total{method="add",outcome="invalid_params"} 1.0' in text
    assert 'band_calls_total{method="fail",outcome="error"} 1.0' in text
    assert 'band_call_seconds_count{method="add"} 3.0' in text
    assert 'band_call_seconds_bucket{le="+Inf",method="add"} 3.0' in text
    assert "band_redis_connected 1.0" in text


async def test_health_combines_redis_and_own_checks(run_service):
    """The worst state wins; a check that raises, hangs or returns nonsense is failing, and breaks nothing."""
    service = Service()
    answers: dict[str, object] = {}

    @service.health("own")
    async def own():
        value = answers["own"]
        if isinstance(value, Exception):
            raise value
        return value

    await run_service(service, http_prefix="/_band")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{service.port}") as session:
        for value, status, state in [
            ({"status": "ok", "rows": 5}, 200, "ok"),
            (None, 200, "ok"),
            (True, 200, "ok"),
            ("degraded", 200, "degraded"),
            ({"status": "degraded"}, 200, "degraded"),
            ({"status": "failing"}, 503, "failing"),
            ({"status": "strange"}, 503, "failing"),
            (False, 503, "failing"),
            ([1], 503, "failing"),
            (RuntimeError("token at https://u:hunter2@h"), 503, "failing"),
        ]:
            answers["own"] = value
            async with session.get("/_band/health") as answer:
                text = await answer.text()
                body = await answer.json()
            assert (answer.status, body["status"]) == (status, state), value
            assert body["checks"]["redis"]["status"] == "ok"
            assert "hunter2" not in text
        answers["own"] = {"status": "ok", "rows": 5, "api_token": "hunter2"}
        async with session.get("/_band/health") as answer:
            assert (await answer.json())["checks"]["own"] == {"status": "ok", "rows": 5, "api_token": "***"}
        async with session.get("/health") as answer:
            assert answer.status == 404


async def test_health_check_that_hangs_is_failing(run_service, monkeypatch):
    """A check has a deadline of its own."""
    monkeypatch.setattr("band.service.health.CHECK_TIMEOUT", 0.1)
    service = Service()

    @service.health
    async def hangs():
        await asyncio.sleep(60)

    await run_service(service)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{service.port}/health") as answer,
    ):
        assert answer.status == 503
        assert "did not end" in (await answer.json())["checks"]["hangs"]["reason"]


async def test_port_in_use_is_told_with_what_to_do(run_service, lab):
    """The start fails with the port's number and the variable to set."""
    with pytest.raises(SettingsError, match=rf"Port {lab.port} .* PORT"):
        await run_service(Service(), name="second", connected=False, port=lab.port)


UNREADABLE = [
    b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer canary-token\r\r\nConnection: close\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer canary\x01token\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization : Bearer canary-token\r\n\r\n",
    b"Authorization: Bearer canary-token\r\n\r\n",
    b"GET /echo?canary HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer canary" + b"y" * 9000 + b"\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n{'key': 'canary'}\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("raw", UNREADABLE)
async def test_what_cannot_be_read_is_not_repeated(lab, raw, capsys, caplog):
    """It may hold a token or a secret of a body: neither the response nor the log has it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.port)
    writer.write(raw)
    async with asyncio.timeout(5):
        said = await reader.read()
    writer.close()
    assert said.split()[1] == b"400"
    everything = said.decode() + "".join(capsys.readouterr()) + caplog.text
    assert "canary" not in everything
    assert "Traceback" not in everything
