"""Health and metrics on the event port: who may see them, and who may not."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from band.service.cross_site import service_policy
from front.container_networks import Surroundings, surroundings
from front.event.client_address import ClientAddresses
from front.http1.request import Request
from front.intake.admin_pages import AdminPages

OWN = {"Host": "127.0.0.1:10001"}
FOREIGN = (
    {**OWN, "Origin": "https://evil.example"},
    {**OWN, "Origin": "null"},
    {**OWN, "Sec-Fetch-Site": "cross-site"},
    {**OWN, "Sec-Fetch-Site": "same-site"},
    {**OWN, "Referer": "https://evil.example/page"},
    {"Host": "evil.example:10001"},
    {"Host": ""},
)


@pytest.fixture
async def http(front: Any) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=front.url, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


async def test_operators_see_health_and_metrics(http: aiohttp.ClientSession) -> None:
    """By any name of this host; a browser that opens the page itself too. No CORS, no cookie, nothing else there."""
    for headers in ({}, {"Host": "localhost:5"}, {"Host": "front:8080"}, {"Host": "[::1]"}, {"Sec-Fetch-Site": "none"}):
        async with http.get("/_band/metrics", headers=headers) as answer:
            assert answer.status == 200, headers
            assert "band_uptime_seconds" in await answer.text()
            names = {name.lower() for name in answer.headers}
            assert not {name for name in names if name.startswith("access-control-")}
            assert "set-cookie" not in names
    async with http.get("/_band/health") as answer:
        assert (await answer.json())["status"] == "ok"
    async with http.get("/_band/nothing") as answer:
        assert answer.status == 404


@pytest.mark.parametrize("headers", FOREIGN)
async def test_pages_of_other_sites_see_nothing(http: aiohttp.ClientSession, headers: dict[str, str]) -> None:
    """Nor does a name that somebody else's DNS leads here; the refusal cannot be read by them either."""
    for path in ("/_band/health", "/_band/metrics", "/_band/nothing"):
        async with http.get(path, headers=headers) as answer:
            assert answer.status == 403, path
            assert "checks" not in await answer.text()
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PUT"])
async def test_only_reading_is_there_for_operators(http: aiohttp.ClientSession, peers: Any, method: str) -> None:
    """A preflight allows nothing, and what is sent under the prefix is no event."""
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    async with http.request(method, "/_band/health", headers=headers) as answer:
        assert answer.status == 404
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    assert await peers.redis.exists("events") == 0


async def test_events_keep_their_cors(http: aiohttp.ClientSession) -> None:
    """What visitors' pages use answers as the original did (WIRE.md 8)."""
    async with http.get("/track/page", headers={"Origin": "https://shop.example"}) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert answer.headers["Access-Control-Expose-Headers"] == "Content-Length,Content-Type,Retry-After"


def pages() -> AdminPages:
    async def health() -> dict[str, Any]:
        return {"status": "ok"}

    async def metrics() -> bytes:
        return b"m 1\n"

    async def newest() -> dict[str, Any]:
        return {"event": None, "looked_at": 0}

    near = ClientAddresses(tuple(ipaddress.ip_network(text) for text in ("127.0.0.0/8", "172.18.0.0/16")))
    return AdminPages("/_band", near, service_policy("front", hosts=["ops.example"]), health, metrics, newest)


@pytest.mark.parametrize(
    ("peer", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("172.18.0.1", {}, 200),
        ("172.18.0.5", {"Host": "front:8080"}, 200),
        ("127.0.0.1", {"Host": "ops.example"}, 200),
        ("10.0.0.9", {}, 404),
        ("8.8.8.8", {}, 404),
        ("", {}, 404),
        ("127.0.0.1", {"X-Real-IP": "9.9.9.9"}, 404),
        ("172.18.0.1", {"X-Forwarded-For": "9.9.9.9"}, 404),
        ("127.0.0.1", {"Forwarded": "for=9.9.9.9"}, 404),
        *(
            ("127.0.0.1", {name: value}, 404)
            for name in (
                "Forwarded",
                "Via",
                "X-Real-IP",
                "X-Forwarded-For",
                "X-Forwarded-Host",
                "X-Forwarded-Proto",
                "X-Forwarded-Port",
                "X-Forwarded-Server",
                "CF-Connecting-IP",
                "True-Client-IP",
                "X-Client-IP",
                "Fastly-Client-IP",
                "Fly-Client-IP",
                "X-Azure-ClientIP",
                "X-Cluster-Client-IP",
                "CloudFront-Viewer-Address",
                "X-Envoy-External-Address",
                "X-Original-Forwarded-For",
                "X-Forwarded",
                "CDN-Loop",
                "CF-Ray",
                "Ali-CDN-Real-IP",
            )
            for value in ("", "a")
        ),
    ],
)
async def test_only_near_callers_without_a_proxy_find_them(peer: str, headers: dict[str, str], status: int) -> None:
    """This host and the networks of the container; any header that only proxies add is enough, empty or not."""
    given = {name.lower().encode(): value.encode() for name, value in {**OWN, **headers}.items()}
    request = Request("GET", b"/_band/metrics", given, peer)
    assert (await pages().page("/_band/metrics", request)).status == status


ROUTE = """\
Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010012AC	0003	0	0	0	00000000	0	0	0
eth0	000012AC	00000000	0001	0	0	0	0000FFFF	0	0	0
"""
ROUTE_V6 = """\
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000003 00000000 00000003     eth0
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000004 00000000 80200001       lo
fd000000000000000000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001     eth0
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000003 00000000 00000001     eth0
"""  # noqa: E501


def test_a_container_knows_its_networks_and_gateways(tmp_path: Path) -> None:
    """Of both families, from the kernel's tables; link-local networks and groups are none."""
    (tmp_path / "route").write_text(ROUTE)
    mark = tmp_path / ".dockerenv"
    mark.touch()
    assert [[str(network) for network in part] for part in surroundings(tmp_path, [mark])] == [
        ["172.18.0.1/32"],
        ["172.18.0.0/16"],
    ]
    (tmp_path / "ipv6_route").write_text(ROUTE_V6)
    assert [[str(network) for network in part] for part in surroundings(tmp_path, [mark])] == [
        ["172.18.0.1/32", "fd00::1/128"],
        ["172.18.0.0/16", "fd00::/64"],
    ]
    assert surroundings(tmp_path, [tmp_path / "missing"]) == Surroundings()
