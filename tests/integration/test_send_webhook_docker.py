"""send_webhook of the built-in collection on a real Docker Engine, from `/run` to a receiver on this host."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from director_host import Director, Redis, docker, until

# The first run builds what it stands on, out of Debian's mirror and the npm registry.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

NAMESPACE = "t-dir-hook"
PORTS = "8750-8769"
KEY = b"canary-4711-key-of-32-bytes-long"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


class Receiver:
    """Two hooks on the test network's gateway: `/well` takes what is signed rightly, `/hangs` never answers."""

    def __init__(self, address: str) -> None:
        self.events: list[dict[str, Any]] = []
        self.free = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.path == "/hangs":
                    receiver.free.wait(120)
                signed = b".".join(
                    [self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), body]
                )
                expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
                right = self.headers["webhook-signature"] == f"v1,{expected}"
                found = json.loads(body)["data"]
                wrong = any(event["data"]["n"] == 13 for event in found)
                if right and not wrong and self.path == "/well":
                    receiver.events.extend(found)
                self.send_response(422 if wrong else 200 if right else 401)
                self.end_headers()

            def log_message(self, *words: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((address, 0), Handler)
        self.url = f"http://{address}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.free.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def director(running: Director) -> Director:
    return running


@pytest.fixture(scope="module")
def receiver(redis: Redis) -> Iterator[Receiver]:
    found = Receiver(redis.gateway)
    yield found
    found.close()


def accept(redis: Redis, *numbers: int) -> list[bytes]:
    with redis.admin() as admin:
        events = [
            {"key": "in.gen.track.page", "id": str(7_530_741_854_237_622_272 + n), "data": {"n": n}} for n in numbers
        ]
        return [admin("XADD", "events", "*", "event", json.dumps(event)) for event in events]


def test_events_leave_by_signed_requests_and_one_that_hangs_delays_no_other(
    director: Director, redis: Redis, receiver: Receiver
) -> None:
    """Built and run by name; its user in Redis may do all that it needs; dead letters, trace and figures are right."""
    hooks = [
        {"name": name, "url": f"{receiver.url}/{name}", "secret": SECRET, "linger": 0.1} for name in ("hangs", "well")
    ]
    env = {"WEBHOOK_DESTINATIONS": json.dumps(hooks), "WEBHOOK_ALLOW": redis.gateway}
    assert director.ok("/run/send_webhook", {"env": env})["state"] == "running"
    accept(redis, 1, 2, 13, 4)
    until(lambda: len(receiver.events) == 3)
    assert [event["data"]["n"] for event in receiver.events] == [1, 2, 4]
    until(lambda: director.ok("/dead_letters/send_webhook")["count"] == 1)
    (letter,) = director.ok("/dead_letters/send_webhook")["letters"]
    assert (letter["group"], letter["event"]["data"]) == ("send_webhook.well", {"n": 13})
    assert letter["reason"].startswith("well: it answered 422 ")
    traced = director.ok(f"/trace/{letter['event']['id']}")["groups"]
    assert {one["group"]: one["state"] for one in traced} == {
        "send_webhook.hangs": "pending",
        "send_webhook.well": "dead_letter",
    }
    groups = {one["name"]: one for one in director.ok("/doctor")["groups"]}
    assert [(one["service"], one["pending"]) for one in groups.values()] == [(True, 4), (True, 0)]
    until(lambda: director.row("send_webhook")["dead_letters"] == 1)


def test_nothing_is_lost_when_it_is_killed_and_its_secrets_are_shown_nowhere(
    director: Director, redis: Redis, receiver: Receiver
) -> None:
    """The container that comes back goes on; neither the director nor the log shows a secret."""
    name = docker("ps", "-q", f"--filter=label=band.namespace={NAMESPACE}", "--filter=label=band.service=send_webhook")
    docker("kill", name)
    accept(redis, 21, 22)
    until(lambda: [event["data"]["n"] for event in receiver.events] == [1, 2, 4, 21, 22], 60)
    paths = (
        "list",
        "show/send_webhook",
        "state",
        "health",
        "registrations",
        "logs/send_webhook",
        "releases/send_webhook",
    )
    shown = [json.dumps(director.ok(f"/{path}")) for path in (*paths, "call/send_webhook/stats")]
    shown += [docker("logs", name, check=False), director.log.read_text()]
    assert not [text for text in shown if SECRET in text or SECRET[6:30] in text]
