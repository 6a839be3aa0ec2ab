"""What listeners are given of a person."""

from __future__ import annotations

import json

import pytest

from band.calls.consent import impersonal
from band.service.lifecycle import Service

EVENT = {
    "key": "in.gen.track.page",
    "uid": "6410748586712844288",
    "td": {"ip": "2.125.160.0", "ua": "Mozilla/5.0", "ref": "https://rock.st/?mail=a@b.c"},
    "data": {
        "uid": "6410748586712844288",
        "fpid": "8063120466863574367",
        "stored": {"mail": "a@b.c"},
        "user": {"id": "u-1", "anonymousId": "a-1", "traits": {"mail": "a@b.c"}},
        "alias": {"previousId": "a-1"},
        "context": {"device": {"id": "d-1"}, "location_lat": 51.75},
        "plan": "pro",
        "mmgeo": {"country_iso": "GB", "city_en": "Boxford", "lat": 51.75, "lon": -1.25, "postal": "OX1"},
        "uaparser": {"os_family": "Mac OS X"},
    },
    "id": "7530741854237622272",
    "time": 1795468772471,
}
REFUSED = {**EVENT, "id": "2", "privacy": ["gpc"]}
BOT = {**EVENT, "id": "4", "aside": ["bot"]}


def test_an_impersonal_event_names_nobody() -> None:
    """No id, address, browser line, fingerprint, stored data, exact place; the original event is not touched.

    Libraries of other products name the visitor in `user` and `alias`, and the device in `context`.
    """
    before = json.dumps(EVENT)
    assert impersonal(EVENT) == {
        "key": "in.gen.track.page",
        "data": {
            "plan": "pro",
            "mmgeo": {"country_iso": "GB", "city_en": "Boxford"},
            "uaparser": {"os_family": "Mac OS X"},
        },
        "id": "7530741854237622272",
        "time": 1795468772471,
    }
    assert json.dumps(EVENT) == before


@pytest.mark.parametrize("batch", [0, 10])
@pytest.mark.parametrize("personal", [None, True, False])
async def test_a_listener_gets_what_it_declares(run_service, raw, eventually, batch, personal):
    """Undeclared: everything. Personal: nothing of those who object, or set aside. Impersonal: all without persons."""
    service = Service()
    got: list[dict[str, object]] = []

    if batch:

        @service.expose.listener(batch=batch, personal=personal)
        async def broadcast(events):
            got.extend(events)
    else:

        @service.expose.listener(personal=personal)
        async def broadcast(**event):
            got.append(event)

    last = {**EVENT, "id": "3"}
    for event in (EVENT, REFUSED, BOT, last):
        await raw.command("XADD", "events", "*", "event", json.dumps(event))
    await run_service(service, name="listen", events_from="0")
    await eventually(lambda: got and got[-1]["id"] == "3")
    expected = {None: [EVENT, REFUSED, BOT, last], True: [EVENT, last]}.get(
        personal, [impersonal(event) for event in (EVENT, REFUSED, BOT, last)]
    )
    assert got == expected

    async def nothing_pending() -> bool:
        return (await raw.command("XPENDING", "events", "listen"))[0] == 0

    await eventually(nothing_pending)


async def test_originals_broadcasts_are_guarded_too(run_service, raw, eventually):
    """A listener of the channel `broadcast` is held to its declaration as one of the stream."""
    service = Service()
    got: list[str] = []

    @service.expose.listener(personal=True)
    async def broadcast(id, **event):  # noqa: A002 - the event's own field
        got.append(id)

    await run_service(service, name="listen", listen_all=True)
    for event in (REFUSED, EVENT):
        message = {"jsonrpc": "2.0", "method": "broadcast:broadcast:front", "params": event}
        await raw.command("PUBLISH", "broadcast", json.dumps(message))
    await eventually(lambda: got)
    assert got == [EVENT["id"]]


def test_the_declaration_is_announced() -> None:
    """`personal` stands in the registration when it was declared, and nowhere else."""
    service = Service()
    service.expose.listener(name="one", personal=False)(lambda **_event: None)
    service.expose.listener(name="two")(lambda **_event: None)
    assert [row["options"] for row in service.registry.rows()] == [{"personal": False}, {}]
