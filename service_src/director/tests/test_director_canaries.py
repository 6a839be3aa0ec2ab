"""Secrets are write-only: canaries go in at every place that takes secrets, and are looked for in what comes out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from director.api.handlers import ENDPOINTS

IN_ENV = 'canary-env-"q"-41f7'
CANARIES = {
    "env": IN_ENV,
    "declared": "canary-declared-77aa",
    "folder": "canary-folder-19c2",
    "config": "canary-config-83bd",
    "url": "canary-url-c0de",
    "failed": "canary-failed-2b2b",
    "first line": "-----BEGIN CANARY KEY-----",
    "second line": "canary-line-MIIEvQIBADAN",
    "escaped line": "canary-escaped-BgkqhkiG",
}
PEM = f"{CANARIES['first line']}\n{CANARIES['second line']}\r\nQ=\n"
ESCAPED = f"{CANARIES['escaped line']}\\nQ="


@pytest.fixture(scope="module")
def planted(director: Any) -> Iterator[Any]:
    """A director that was given each canary, by each way in; one service runs with all, one failed to start."""
    director.image("plant", f"secrets: [CODE]\nenv: {{FOLDER_TOKEN: {CANARIES['folder']}}}\n")
    env = {
        "API_TOKEN": CANARIES["env"],
        "CODE": CANARIES["declared"],
        "BACKEND": f"https://user:{CANARIES['url']}@example.com/x",
        "PLAIN": "readable",
        "BLAB": "1",
        "PEM_SECRET": PEM,
        "ESCAPED_SECRET": ESCAPED,
    }
    assert director.post("/run/plant", {"env": env})[0] == 200
    assert director.get(f"/update_config/plant?env.LATER_SECRET={CANARIES['config']}")[0] == 200
    status, body = director.post("/run/plant", {"env": {**env, "CRASH": "1", "FAILED_PASSWORD": CANARIES["failed"]}})
    assert status == 502
    check(json.dumps(body), "the failed run")
    yield director


def check(text: str, where: str) -> None:
    """Fail if a canary, in any of its forms, stands in a text."""
    for name, canary in CANARIES.items():
        for form in (canary, json.dumps(canary)[1:-1], json.dumps(json.dumps(canary))[2:-2]):
            assert form not in text, f"{name} came out of {where}: …{text[max(0, text.find(form) - 200) :][:300]}"


def paths() -> list[str]:
    """Return requests of the service with the canaries: of every endpoint, but for those that would end it."""
    changing = {"rm", "stop", "prune", "rebuild_all", "set_pos"}
    found = [row.path for row in ENDPOINTS if row.path.split("/")[1] not in {*changing, "call"}]
    named = [path.replace("{name}", "plant").replace("{id}", "1") for path in found]
    calls = [f"/call/plant/{method}" for method in ("blab", "blurt", "fail", "nothing")]
    pages = ["/", "/dashboard/service/plant", "/dashboard/form/run/plant", "/dashboard/dead", "/_band/metrics"]
    wrong = [
        "/run/plant?limits=x",
        "/update_config/plant?limits.memory=lots",
        "/run/plant?env={",
        "/set_pos/plant?pos=x",
    ]
    return [*named, *calls, *pages, *wrong, "/state?name=plant", "/logs/plant?follow=1", "/_band/health"]


@pytest.mark.parametrize("path", paths())
def test_no_answer_holds_a_secret(planted: Any, path: str) -> None:
    """Every endpoint and page, good and bad requests."""
    _, text = planted.request("GET", path)
    check(text, path)


@pytest.mark.parametrize(
    "body",
    [
        {"env": {"API_TOKEN": IN_ENV, "A B": IN_ENV}}, {"env": {"API_TOKEN": [IN_ENV]}}, {"env": IN_ENV},
        {"env": {"API_TOKEN": IN_ENV + "\0"}}, {"env": {"API_TOKEN": IN_ENV, "PORT": "1"}}, {"token": IN_ENV},
    ],
)  # fmt: skip
def test_a_refusal_does_not_repeat_what_was_sent(planted: Any, body: dict[str, Any]) -> None:
    """Neither as JSON nor sent as a form by mistake."""
    status, answer = planted.post("/run/plant", body)
    assert status in {400, 422}
    check(json.dumps(answer), str(body))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, text = planted.request("POST", "/run/plant", json.dumps(body).encode(), form)
    assert status == 400
    check(text, "a form")


def test_a_readable_value_stays_readable(planted: Any) -> None:
    """Only secrets are masked: the rest of the environment can be read, and the log shows its line."""
    env = planted.get("/show/plant")[1]["env"]
    assert (env["PLAIN"], env["API_TOKEN"], env["BACKEND"]) == ("readable", "***", "https://user:***@example.com/x")
    assert "PLAIN=readable" in planted.request("GET", "/logs/plant")[1]


async def test_the_socket_shows_no_secret(planted: Any) -> None:
    """What `/ws` sends of a service that prints its whole environment."""
    said: list[str] = []
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{planted.url}/ws?name=plant") as socket:
        await asyncio.to_thread(planted.get, "/restart/plant")
        while True:
            try:
                said.append((await socket.receive(timeout=2.0)).data or "")
            except TimeoutError:
                break
    assert any("plant" in line for line in said)
    check("\n".join(map(str, said)), "/ws")


def test_the_directors_own_log_holds_no_secret(planted: Any) -> None:
    """After all that was asked of it, in its own output."""
    check(planted.log.read_text(), "the log")
