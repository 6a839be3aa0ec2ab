"""Standard Webhooks: requests count only with a signature, and nobody else can make such events."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import aiohttp
import pytest

from band.errors import SettingsError
from front.event.webhook_secrets import sources_of
from front.settings import FrontSettings

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(bytes([number] * 24)).decode()}" for number in (1, 2, 3))
BODY = json.dumps({"type": "invoice.paid", "timestamp": "2026-11-27T17:20:00Z", "data": {"total": 12.5}}).encode()


def signature(secret: str, own_id: str, moment: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.digest(key, f"{own_id}.{moment}.".encode() + body, hashlib.sha256)).decode()


def signed(secret: str, body: bytes = BODY, *, own_id: str = "msg_1", age: int = 0, **changed: str) -> dict[str, str]:
    moment = int(time.time()) - age
    return {
        "webhook-id": own_id,
        "webhook-timestamp": str(moment),
        "webhook-signature": signature(secret, own_id, moment, body),
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }


@pytest.fixture(scope="module")
def receiver(front: Any, front_redis: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A front that knows two sources; `shop` is in the middle of a rotation."""
    secrets = json.dumps({"shop": [OLD, NEW], "crm": OTHER})
    started = type(front)(tmp_path_factory.mktemp("receiver"), front_redis.dsn, WEBHOOK_SECRETS=secrets)
    yield started
    started.stop()


@pytest.fixture
async def hooks(client_of: Any, receiver: Any, front_redis: Any, speak: Any) -> AsyncIterator[Any]:
    found = client_of(receiver, speak(front_redis.dsn))
    await found.peers.redis.flushall()
    yield found
    await found.peers.redis.flushall()


async def test_a_signed_request_is_an_event(hooks: Any) -> None:
    now = time.time() * 1000
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now / 1000 - 60))
    body = json.dumps({"type": "invoice.paid", "timestamp": when, "data": {"total": 12.5}, "account": "a-1"}).encode()
    assert await hooks.post("/webhooks/shop", body, **signed(NEW, body)) == (200, {"success": True})
    (event,) = await hooks.events()
    assert (event["key"], event["dedup"]) == ("in.gen.webhooks.shop.invoice.paid", "msg_1")
    assert event["data"] == {
        "data": {"total": 12.5}, "type": "invoice.paid", "source": "shop", "extensions": {"account": "a-1"}, "ts": when,
    }  # fmt: skip
    assert abs(event["time"] - now + 60_000) < 5000


@pytest.mark.parametrize("secret", [OLD, NEW])
async def test_both_secrets_count_during_a_rotation(hooks: Any, secret: str) -> None:
    """A sender may also sign with several."""
    headers = signed(secret)
    headers["webhook-signature"] = f"v1a,abc v1,AAAA {headers['webhook-signature']}"
    assert (await hooks.post("/webhooks/shop/", BODY, **headers))[0] == 200


@pytest.mark.parametrize(("body", "data"), [(b"[1, 2]", [1, 2]), (b'{"a": 1}', {"a": 1}), (b'"text"', "text")])
async def test_any_json_may_be_signed(hooks: Any, body: bytes, data: Any) -> None:
    assert (await hooks.post("/webhooks/crm", body, **signed(OTHER, body)))[0] == 200
    (event,) = await hooks.events()
    assert (event["name"], event["data"]["data"]) == ("crm", data)


@pytest.mark.parametrize(
    ("source", "body", "headers", "status", "code"),
    [
        ("shop", BODY, dict, 401, "unsigned"),
        ("shop", BODY, partial(signed, OTHER), 401, "wrong_signature"),
        ("shop", BODY + b" ", partial(signed, OLD), 401, "wrong_signature"),
        ("shop", BODY, partial(signed, OLD, webhook_id="msg_2"), 401, "wrong_signature"),
        ("shop", BODY, partial(signed, OLD, webhook_signature="v1"), 401, "wrong_signature"),
        ("shop", BODY, partial(signed, OLD, webhook_signature="v1," * 5000), 401, "wrong_signature"),
        ("shop", BODY, partial(signed, OLD, webhook_timestamp="soon"), 401, "signature_time"),
        ("shop", BODY, partial(signed, OLD, webhook_timestamp="9" * 30), 401, "signature_time"),
        ("shop", BODY, partial(signed, OLD, age=400), 401, "signature_time"),
        ("shop", BODY, partial(signed, OLD, age=-400), 401, "signature_time"),
        ("crm", BODY, partial(signed, OLD), 401, "wrong_signature"),
        ("bank", BODY, partial(signed, OLD), 404, "unknown_source"),
        ("shop/crm", BODY, partial(signed, OLD), 404, "unknown_source"),
        ("shop", b"{", partial(signed, OLD, b"{"), 400, "malformed_json"),
        ("shop", b"", partial(signed, OLD, b""), 400, "empty_body"),
    ],
)  # fmt: skip
async def test_all_else_is_refused(
    hooks: Any, source: str, body: bytes, headers: Callable[[], dict[str, str]], status: int, code: str
) -> None:
    """Signed when the test runs: a signature is valid for five minutes."""
    refused, answer = await hooks.post(f"/webhooks/{source}", body, **headers())
    assert (refused, answer["code"]) == (status, code)
    assert await hooks.events() == []


async def test_nobody_makes_such_events_in_another_form(hooks: Any) -> None:
    """Neither by the native path, query, body or array, nor over a WebSocket."""
    named = {"service": "webhooks", "name": "shop.invoice.paid"}
    assert (await hooks.post("/band/webhooks/shop", {}))[0] == 401
    assert (await hooks.post("/x/shop?service=webhooks", {}))[0] == 401
    assert (await hooks.post("/?service=webhooks.shop&name=invoice", {}))[0] == 200, "the index page"
    assert (await hooks.post("/band/t4k.json", {"service": "webhooks.shop", "name": "invoice"}))[0] == 401
    assert (await hooks.post("/band/t4k.json", named))[0] == 401
    assert (await hooks.post("/band/t4k.json", [named, named]))[0] == 401
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{hooks.url}/wss?uid=6410748586712844288") as socket,
    ):
        await socket.send_json(named)
        assert (await socket.receive_json())["statusCode"] == 401
    assert await hooks.events() == []


async def test_without_secrets_the_path_is_an_events_as_any_other(client: Any) -> None:
    assert (await client.post("/webhooks/shop", {"data": {"a": 1}}))[0] == 200
    (event,) = await client.events()
    assert event["key"] == "in.gen.webhooks.shop"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("whsec_canary", "is not JSON"),
        ('["whsec_canary"]', "is not a JSON object"),
        ('{"Shop!": "whsec_canary"}', "1 to 64"),
        ('{"shop": []}', "neither a secret nor a list"),
        ('{"shop": [5]}', "neither a secret nor a list"),
        ('{"shop": "whsec_can ary"}', "not base64"),
        ('{"shop": "whsec_Y2FuYXJ5"}', "fewer than 16 bytes"),
    ],
)
def test_a_setting_that_cannot_be_read_is_refused_without_its_secrets(given: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as wrong:
        FrontSettings.read({"webhook_secrets": given})
    assert "canary" not in str(wrong.value) and "Y2Fu" not in str(wrong.value)


def test_a_secret_may_be_alone_or_in_a_list() -> None:
    assert sources_of("") == {}
    found = sources_of(json.dumps({"shop": OLD, "crm": [NEW, OTHER]}))
    assert {name: len(keys) for name, keys in found.items()} == {"shop": 1, "crm": 2}
    assert OLD not in repr(FrontSettings.read({"webhook_secrets": json.dumps({"shop": OLD})}))
