"""Whatever a service answers to `__status` spoils nothing but what the director says of that service."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from director.discovery.announcer import Announcer
from director.discovery.health import Signs, judge
from director.discovery.probe import Prober
from director.discovery.registrations import MAX_REASON, Registrations, state_hash
from director.engine.interface import Container
from director.supervise.status import StatusBoard

ROW = {"method": "enrich", "role": "enricher", "options": {"keys": ["in.gen.track"]}}
GOOD = {"name": "geo", "app_state": "running", "app_started": 5, "register": [ROW]}


def answer(**more: Any) -> str:
    """Return a good status with something more in it, as JSON of any size and depth."""
    return json.dumps({**GOOD, **more})


def nested(levels: int) -> str:
    return answer()[:-1] + ', "extra": ' + "[" * levels + "]" * levels + "}"


class Bus:
    """Redis with services on it that answer with the text given, as a result or, of `errors`, as an error."""

    connected = True
    reconnects = 0

    def __init__(self, errors: dict[str, str] | None = None, **texts: str) -> None:
        self.texts = texts
        self.errors = errors or {}
        self.kept: list[bytes] = []
        self.told = asyncio.Event()
        self.prober = Prober(self, "probe", lambda _: ("canary-secret",))

    def publish(self, channel: str, payload: bytes, on_reply: Any = None, *, keep: bool = False) -> bool:
        loop, message = asyncio.get_running_loop(), msgspec.json.decode(payload)
        text = f'"result": {self.texts.get(channel)}'
        if channel in self.errors and message["params"].get("state_hash"):
            text = f'"error": {self.errors[channel]}'
        body = f'{{"jsonrpc": "2.0", "id": "{message["id"]}", {text}}}'
        loop.call_soon(self.prober.on_message, "probe", body.encode())
        return True

    async def command(self, *words: Any) -> Any:
        self.kept.append(words[-1])
        self.told.set()
        return b"OK"


class Picture:
    """What runs."""

    def __init__(self, *names: str) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.containers = [Container(id=name, name=name, service=name) for name in names]

    def primaries(self) -> dict[str, Container]:
        return {item.service: item for item in self.containers}

    def ended(self, _stopped: Any) -> dict[str, float]:
        return {}

    def stopped(self) -> frozenset[str]:
        return frozenset()


def announcer(bus: Any, known: Registrations, picture: Any) -> Announcer:
    return Announcer(bus, bus.prober, known, picture, picture)


def judged(known: Registrations, name: str) -> tuple[str, str]:
    return judge(Signs(name=name, state="running", status=known.status(name)))


HOSTILE = {
    "2000 levels": (nested(2000), "has more than 100 levels"),
    "900 levels": (nested(900), "has more than 100 levels"),
    "2 MB": (answer(extra="x" * 2_000_000), "bytes; the limit is"),
    "a number of 400 digits": (answer(extra=10**400), "a number that is too large"),
    "a ttl of 400 digits": (answer(register=[{**ROW, "options": {"cache": {"ttl": 10**400}}}]), "`ttl`"),
    "a timeout of a century": (answer(register=[{**ROW, "options": {"timeout": 4e12}}]), "`timeout`"),
    "a row that is a text": (answer(register=["row"]), "is not an object"),
    "a row without a method": (answer(register=[{"role": "handler"}]), "`method`"),
    "options that are a list": (answer(register=[{**ROW, "options": [1]}]), "`options`"),
    "a row with a large number": (answer(register=[{**ROW, "options": {"props": {"a": 10**30}}}]), "too large"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("secrets", [(), ("canary-secret",)])
async def test_one_bad_status_spoils_only_its_own_service(case: str, secrets: tuple[str, ...]) -> None:
    """The sweep ends, front gets the rows of the others, and that service is degraded with the reason."""
    text, reason = HOSTILE[case]
    bus = Bus(evil=text, geo=answer(), front="null")
    known = Registrations(lambda _: secrets)
    found = announcer(bus, known, Picture("evil", "geo", "front"))  # type: ignore[arg-type]
    task = asyncio.create_task(found.run())
    try:
        await asyncio.wait_for(bus.told.wait(), 8)
    finally:
        task.cancel()
    sent = msgspec.json.decode(bus.kept[-1])
    assert [row["service"] for row in sent["register"]].count("geo") == 1
    assert state_hash(found.rows()) == sent["state_hash"]
    word, said = judged(known, "evil")
    assert word == "degraded"
    assert reason in said
    assert judged(known, "geo") == ("ok", "")
    status = known.status("evil")
    assert status is not None and status["app_started"] == 5, "who it is stays known"
    assert len(msgspec.json.encode(status)) < 70_000


async def test_good_rows_beside_a_bad_one_are_passed_on() -> None:
    """A row is left out alone."""
    bus = Bus(evil=answer(register=[{**ROW, "options": {"timeout": 10**400}}, ROW]))
    status = await bus.prober.ask("evil", timeout=5)
    assert status is not None and status["register"] == [ROW]


async def test_what_cannot_be_noted_at_all_spoils_only_its_own_service() -> None:
    """Whatever breaks in the taking of a status, the service is degraded and the others go on."""

    def broken(name: str) -> tuple[str, ...]:
        if name == "evil":
            raise RuntimeError("canary")
        return ()

    bus = Bus(evil=answer(), geo=answer(), front="null")
    known = Registrations(broken)
    found = announcer(bus, known, Picture("evil", "geo"))  # type: ignore[arg-type]
    await found._sweep()
    assert known.active(time.time()) == ["evil", "geo"]
    assert judged(known, "evil")[0] == "degraded"
    assert "RuntimeError" in judged(known, "evil")[1]


async def test_an_ask_that_fails_does_not_end_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ask of the sweep stands for itself."""
    bus = Bus(evil=answer(), geo=answer())
    known = Registrations()
    found = announcer(bus, known, Picture("evil", "geo"))
    ask = bus.prober.ask

    async def failing(service: str, **more: Any) -> Any:
        if service == "evil":
            raise ValueError("canary")
        return await ask(service, **more)

    monkeypatch.setattr(bus.prober, "ask", failing)
    await found._sweep()
    assert found._swept
    assert known.active(time.time()) == ["evil", "geo"]
    assert judged(known, "evil")[0] == "degraded"


@pytest.mark.parametrize("place", ["reason", "hint", "warning"])
async def test_a_reason_of_three_megabytes_is_cut_where_it_enters(place: str) -> None:
    """Of 500 kB a thousand characters are kept; of a status of 3 MB, that it is too large."""
    for size in (500_000, 3_000_000):
        checks = {"disk": {"status": "degraded", place: "x" * size}}
        bus = Bus(evil=answer(health={"status": "degraded", "checks": checks}))
        status = await bus.prober.ask("evil", timeout=5)
        assert status is not None
        assert len(msgspec.json.encode(status)) < 3 * MAX_REASON
        assert status["health"]["status"] == "degraded"


@pytest.mark.parametrize("length", range(MAX_REASON - 14, MAX_REASON + 2))
async def test_no_part_of_a_secret_is_left_where_a_text_is_cut(length: int) -> None:
    """It is masked first: in what a check says, in an error reply, and of a container that is only starting."""
    said: list[str] = []
    for secret in ("canary-secret", "value-of-new"):
        text = "x" * length + secret
        error = json.dumps({"message": text})
        bus = Bus({"front": error}, front="null", evil=answer(health={"checks": {"disk": {"reason": text}}}))
        status = await bus.prober.ask("evil", timeout=5, hide=["value-of-new"])
        assert status is not None
        said.append(status["health"]["checks"]["disk"]["reason"])
        asked = {"params": {"state_hash": 1}, "on_error": said.append, "hide": ["value-of-new"]}
        await bus.prober.ask("front", timeout=5, **asked)
    assert {text.strip("x*") for text in said} == {""}
    assert all(len(text) <= MAX_REASON for text in said)


async def test_a_word_of_half_a_megabyte_is_no_word() -> None:
    """The `status` of its health facts is short, or `degraded`."""
    bus = Bus(evil=answer(health={"status": "x" * 500_000}))
    status = await bus.prober.ask("evil", timeout=5)
    assert status is not None and status["health"]["status"] == "degraded"


async def test_an_error_reply_of_front_to_the_registrations_is_told() -> None:
    """The director is degraded, names front and the reason, until front takes them; its secrets are masked."""
    bus = Bus({"front": '{"code": -32000, "message": "OverflowError: canary-secret"}'}, front="null")
    known = Registrations(lambda _: ("canary-secret",))
    found = announcer(bus, known, Picture("front"))  # type: ignore[arg-type]
    anything: Any = SimpleNamespace(status="ok", reason="", crowded="", error="", loaded=True)
    board = StatusBoard(
        snapshot=anything, desired=anything, releases=anything, crashes=anything, registrations=known, announcer=found,
        redis=anything, scripts=anything, ports=anything,
    )  # fmt: skip
    await found._sweep()
    await found.heard("front")
    own = board.parts().director
    assert own.status == "degraded"
    assert "front rejected the registrations: OverflowError: ***" in own.reason
    bus.errors.clear()
    await found.heard("front")
    assert board.parts().director.status == "ok"


@pytest.mark.parametrize("error", ["{}", '"text"', "[1]", "7", '{"message": 5}', '{"message": "' + "x" * 9000 + '"}'])
async def test_an_error_reply_of_any_form_is_one(error: str) -> None:
    """It ends the wait at once with a short reason."""
    bus = Bus({"front": error}, front="null")
    said: list[str] = []
    asked = bus.prober.ask("front", timeout=5, params={"state_hash": 1}, on_error=said.append)
    assert await asyncio.wait_for(asked, 1) is None
    assert 0 < len(said[0]) <= MAX_REASON
