"""The director as somebody meets it who means harm from outside: pages of other sites, and callers without a token."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from band.service.cross_site import host_names
from director.api.handlers import ENDPOINTS, READING
from director.api.security import Guard, hostname
from director.api.server import error_middleware
from director.errors import Refused, TokenMissing

TOKEN = "canary-token-5d1f9a"
BROWSER = "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.6 Safari/605.1.15"
EVIL = "http://evil.example"


def raw(port: int, request: bytes) -> bytes:
    """Send bytes as they are; return the first of the answer."""
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(request)
        return client.recv(65536)


def hosts(*names: str) -> list[dict[str, str]]:
    return [{"Host": name} for name in names]


REFUSED = [
    *hosts(
        "evil.example", "evil.example:10000", "127.0.0.1.evil.example", "localhost.evil.example", "localhost..evil",
        "127.0.0.1@evil.example", "evil.example@127.0.0.1", "127.0.0.1/evil", "127.0.0.1#.evil.example", "0.0.0.0",
        "127.0.0.1?.evil.example", "127.1", "2130706433", "[::ffff:127.0.0.1]", "[::1", "::1", "localhost:99999999",
        "localhost:", "ⅼocalhost", "",
    ),
    {"Host": "evil.example", "X-Forwarded-Host": "localhost"},
    {"Host": "evil.example", "Forwarded": "host=localhost"},
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://[evil"},
    {"Origin": "http://localhost:3000"},
    {"Origin": EVIL, "Host": "localhost", "X-Forwarded-Host": "evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-User": "?1"},
    {"Referer": f"{EVIL}/page", "User-Agent": BROWSER},
    {"Referer": "http://[evil", "User-Agent": BROWSER},
    {"User-Agent": BROWSER},
]  # fmt: skip


@pytest.mark.parametrize("headers", REFUSED, ids=str)
def test_what_a_page_of_another_site_can_send_is_refused(headers: dict[str, str]) -> None:
    """DNS rebinding, foreign origins, pictures in old browsers: refused, with a token or without one."""
    for guard in (Guard(host_names([], [])), Guard(host_names([], []), token=TOKEN)):
        with pytest.raises(Refused) as caught:
            guard.check("/rm/front", {"Host": "localhost:10000", **headers})
        assert not isinstance(caught.value, TokenMissing)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:10000",
        "LocalHost:10000",
        "localhost.:10000",
        "[::1]:10000",
        "[::1]",
        "panel.example.com.",
    ],
)
def test_its_own_names_are_known_in_every_spelling(host: str) -> None:
    """Ports, capitals, a dot at the end and IPv6's brackets do not matter; forwarded names do not either."""
    guard = Guard(host_names([], ["panel.example.com"]))
    guard.check("/rm/front", {"Host": host, "X-Forwarded-Host": "evil.example"})
    assert hostname(host) == hostname(host.lower())


def test_a_browser_may_still_open_what_changes_nothing() -> None:
    """The address bar of a browser that says nothing opens pages and lists, and from them, everything."""
    guard = Guard(host_names([], []), reading=frozenset({"", "list", "dashboard"}))
    for path in ("/", "/list", "/dashboard/service/x"):
        guard.check(path, {"Host": "localhost", "User-Agent": BROWSER})
    guard.check("/run/x", {"Host": "localhost:1", "User-Agent": BROWSER, "Referer": "http://localhost:1/"})
    guard.check("/run/x", {"Host": "localhost", "User-Agent": "curl/8.14.1"})


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Purpose": "prefetch;prerender"},
        {"Sec-Purpose": "prefetch"},
        {"Purpose": "prefetch"},
        {"X-Moz": "prefetch"},
    ],
    ids=str,
)
def test_what_a_browser_guesses_changes_nothing(headers: dict[str, str]) -> None:
    """While an address is typed browsers open what they think is meant: a service is not restarted by that."""
    guard = Guard(host_names([], []), reading=frozenset({"", "list"}))
    typed = {"Host": "localhost", "User-Agent": BROWSER, "Sec-Fetch-Site": "none", **headers}
    guard.check("/list", typed)
    with pytest.raises(Refused, match="prefetch requests are refused"):
        guard.check("/restart/front", typed)


def test_forms_of_other_sites_reach_nothing(director: Any) -> None:
    """A form as text/plain, as a form, as a picture: refused by the guard, and not read even where that lets it in."""
    body = b'{"env": {"A": "b"}}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        evil = {"Content-Type": kind, "Origin": EVIL, "Sec-Fetch-Site": "cross-site"}
        assert director.request("POST", "/run/svc000", body, evil)[0] == 403
        assert director.request("POST", "/run/svc000", body, {"Content-Type": kind})[0] == 400
    assert director.request("GET", "/rm/svc000", headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert director.get("/state?name=svc000")[0] == 200


@pytest.mark.parametrize("path", ["/ws", "/ws?name=svc000", "/dashboard/live"])
def test_a_socket_of_another_site_is_not_opened(director: Any, path: str) -> None:
    """WebSockets know no same-origin policy: the guard looks at their Origin too."""
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    for evil in ({"Origin": EVIL}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert director.request("GET", path, headers={**upgrade, **evil})[0] == 403


@pytest.mark.parametrize(
    "host", ["Host: localhost\r\nHost: evil.example", "X: y", "Host: evil.example\r\nHost: localhost"]
)
def test_two_hosts_or_none_are_refused(director: Any, host: str) -> None:
    """Whichever of the two another program would believe."""
    answer = raw(director.port, f"GET /list HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ")[1] in {b"400", b"403"}


def test_no_answer_lets_another_origin_read_it(director: Any) -> None:
    """There is no CORS header anywhere, also not on the framework's own paths and on errors."""
    for path in ("/list", "/nowhere", "/_band/metrics", "/_band/health", "/metrics", "/openapi.json", "/"):
        answer = raw(director.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        head = answer.split(b"\r\n\r\n")[0].lower()
        assert b"access-control-allow-origin" not in head, path
        evil = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {EVIL}\r\nConnection: close\r\n\r\n".encode()
        assert raw(director.port, evil).split(b" ")[1] == b"403"


WRONG = [
    {}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Authorization": TOKEN},
    {"Authorization": "Bearer"}, {"X-Band-Token": TOKEN[:-1]}, {"X-Band-Token": TOKEN + "x"},
    {"X-Band-Token": TOKEN.upper()}, {"Cookie": f"band_session={TOKEN}"}, {"Cookie": f"token={TOKEN}"},
    {"Cookie": "band_session=9999999999.x.y"},
]  # fmt: skip


@pytest.mark.parametrize("headers", WRONG, ids=str)
def test_without_the_token_every_endpoint_is_closed(closed: Any, headers: dict[str, str]) -> None:
    """All paths of the table, both verbs, the page's and the framework's: 403 (or the login page), and nothing told."""
    paths = [
        endpoint.path.replace("{name}", "x").replace("{method}", "m").replace("{id}", "1") for endpoint in ENDPOINTS
    ]
    for path in [*paths, "/", "/dashboard/dead", "/dashboard/live", "/ws", "/_band/metrics", "/nowhere"]:
        for verb in ("GET", "POST"):
            status, text = closed.request(verb, path, headers=headers)
            assert (status, TOKEN in text) == (403, False), (verb, path)


def test_the_token_opens_by_header_only(closed: Any) -> None:
    """In the query, in the body or in a cookie of its own it is not accepted: those end in logs and histories."""
    assert closed.get("/list", Authorization=f"Bearer {TOKEN}") == (200, [])
    assert closed.get("/list", **{"X-Band-Token": TOKEN})[0] == 200
    for path in (f"/list?token={TOKEN}", f"/list?access_token={TOKEN}", f"/list?X-Band-Token={TOKEN}"):
        assert closed.request("GET", path)[0] == 403
    assert closed.post("/list", {"token": TOKEN})[0] == 403
    assert TOKEN not in closed.log.read_text()


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/static/../../list", "/dashboard/static/%2e%2e/%2e%2e/list", "/dashboard/login/../../list",
        "/dashboard/static/..%2f..%2fguard.py", "/dashboard/static/..\\..\\list", "//list", "/./list",
        "/_band/health/../../list", "/_band/health/", "/dashboard/static/%00", "/dashboard/static//etc/passwd",
    ],
)  # fmt: skip
def test_no_detour_leads_past_the_token(closed: Any, path: str) -> None:
    """Dots, slashes and their encodings neither reach an endpoint through an open path nor a file beside it."""
    answer = raw(closed.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ")[1] in {b"400", b"403", b"404"}, answer[:300]
    assert b"def " not in answer
    assert b"root:" not in answer


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_beyond_loopback_without_a_token_it_does_not_start(host: str) -> None:
    """Exit status 78 and the reason, before it listens."""
    env = {
        "HOST": host,
        "PORT": "8751",
        "REDIS_DSN": "redis://127.0.0.1:1/0",
        "PATH": "/usr/bin",
        "BAND_NAMESPACE": "t-api",
    }
    done = subprocess.run(
        [sys.executable, "-m", "director"], env=env, capture_output=True, text=True, timeout=50, check=False
    )
    assert (done.returncode, "BAND_TOKEN" in done.stderr) == (78, True)


PUBLISHED = Guard(host_names(["director"], []), reading=READING, gateways=lambda: {"172.18.0.1", "fd00::1"})
CHANGING = {
    "run", "start", "stop", "restart", "rm", "rebuild_all", "rollback", "prune", "call", "set_pos", "update_config",
    "replay_dead_letters", "delete_dead_letters", "replay", "projects",
}  # fmt: skip


@pytest.mark.parametrize("peer", ["172.18.0.3", "172.18.0.10", "::ffff:172.18.0.3", "fe80::2%eth0", "", None])
async def test_a_container_without_a_token_only_reads(peer: str | None) -> None:
    """Over the platform's network a service could run commands in any other, by its environment."""
    refused = set()
    for path in [*(endpoint.path for endpoint in ENDPOINTS), "/", "/ws", "/dashboard/live", "/_band/metrics"]:
        transport = Mock()
        transport.get_extra_info = {"peername": None if peer is None else (peer, 40000)}.get
        request = make_mocked_request("POST", path, {"Host": "director:8080"}, transport=transport)
        answer = await error_middleware(PUBLISHED)(request, AsyncMock(return_value=web.Response()))
        if answer.status != 200:
            refused.add(path.split("/")[1])
            assert answer.status == 403
            assert "BAND_TOKEN" in json.loads(answer.body)["error"]["hint"]
    assert refused == CHANGING


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "172.18.0.1", "::ffff:172.18.0.1", "fd00::1"])
def test_the_host_needs_no_token(peer: str) -> None:
    """A published port is reached through the container's gateway; from inside the container over loopback."""
    PUBLISHED.check("/run/front", {"Host": "localhost:10000"}, peer)


def test_a_container_with_the_token_and_a_director_on_a_host_are_not_asked_where_from() -> None:
    """The token says who calls; outside of a container the director listens on loopback only."""
    token = Guard(PUBLISHED.hosts, token=TOKEN, gateways=PUBLISHED.gateways)
    token.check("/run/front", {"Host": "director:8080", "X-Band-Token": TOKEN}, "172.18.0.3")
    Guard(PUBLISHED.hosts).check("/run/front", {"Host": "localhost:10000"}, "192.0.2.1")


def test_half_a_request_does_not_stay(make_director: Any) -> None:
    """Nothing at all, half a head, half of a second head: each connection is closed after a while."""
    director = make_director("t-idle", FAKE_IDLE="1")
    whole = b"GET /list HTTP/1.1\r\nHost: localhost\r\n\r\n"
    found = []
    for head in (b"", whole[:20], whole + whole[:20]):
        found.append(socket.create_connection(("127.0.0.1", director.port), 10))
        found[-1].sendall(head)
    for client in found:
        with client:
            while client.recv(65536):
                pass


def test_the_log_of_a_service_cannot_speak_to_the_terminal(director: Any) -> None:
    """Escape sequences, bells and carriage returns of a service are shown, not obeyed; tabs and other letters stay."""
    director.image("loud")
    said = "a\tb \u001b[2J\u001b]0;title\u0007 \u009b31m \r\b\u007f é日"
    assert director.post("/run/loud", {"env": {"SAID": said}})[0] == 200
    for path in ("/logs/loud", "/logs/loud?follow=1"):
        text = director.request("GET", path)[1]
        assert "SAID=a\tb ␛[2J␛]0;title␇ \ufffd31m ␍␈␡ é日\n" in text
        assert not [letter for letter in text if ord(letter) < 32 and letter not in "\t\n"]
