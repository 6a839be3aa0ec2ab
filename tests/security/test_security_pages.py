"""No page of another site reads or changes anything on any port: what a browser would send for it is refused."""

from __future__ import annotations

import http.client
from collections.abc import Mapping

import pytest
from chaos_stage import DIRECTOR_PORT, FRONT_PORT, Stage, docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]
EVIL = "http://evil.example"
FOREIGN: dict[str, dict[str, str]] = {
    "a foreign Origin": {"Origin": EVIL},
    "the Origin of a frame without one": {"Origin": "null"},
    "a foreign site, by fetch metadata": {"Sec-Fetch-Site": "cross-site"},
    "a sister site, by fetch metadata": {"Sec-Fetch-Site": "same-site"},
    "a foreign Referer of a browser": {"Referer": f"{EVIL}/page", "User-Agent": "Mozilla/5.0"},
    "a foreign Host (DNS rebinding)": {"Host": "rebound.evil.example"},
}


def _get(port: int, path: str, headers: Mapping[str, str], method: str = "GET") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


def _ports(stage: Stage) -> dict[str, tuple[int, str]]:
    """Each kind of port with a path that has something to hide."""
    uaparser = int(docker("port", stage.container("uaparser"), "8080").rpartition(":")[2])
    return {
        "director": (DIRECTOR_PORT, "/list"),
        "director's page": (DIRECTOR_PORT, "/"),
        "director's verb": (DIRECTOR_PORT, "/restart/uaparser"),
        "front's health": (FRONT_PORT, "/_band/health"),
        "front's metrics": (FRONT_PORT, "/_band/metrics"),
        "service's method": (uaparser, "/enrich"),
        "service's health": (uaparser, "/health"),
        "service's metrics": (uaparser, "/metrics"),
    }


@pytest.mark.parametrize("kind", FOREIGN)
def test_no_port_answers_a_page_of_another_site(stage: Stage, kind: str) -> None:
    """Each is refused, and no response may be read by the page's script."""
    for what, (port, path) in _ports(stage).items():
        response = _get(port, path, FOREIGN[kind])
        assert response.status in {403, 404}, f"{what}: {response.status}"
        assert response.headers["Access-Control-Allow-Origin"] is None, what


def test_programs_of_the_operator_are_answered(stage: Stage) -> None:
    """The same paths without what a browser adds."""
    for what, (port, path) in _ports(stage).items():
        if "verb" not in what:
            assert _get(port, path, {}).status in {200, 400}, what


@pytest.mark.parametrize("kind", FOREIGN)
def test_no_page_has_a_preflight_allowed(stage: Stage, kind: str) -> None:
    """Only front's intake answers preflights of foreign pages."""
    asks = {"Access-Control-Request-Method": "POST", **FOREIGN[kind]}
    for what, (port, path) in _ports(stage).items():
        if not what.startswith("front"):
            assert _get(port, path, asks, "OPTIONS").headers["Access-Control-Allow-Origin"] is None, what
