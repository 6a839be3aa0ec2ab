"""band_event: the proof ends within seconds when waiting would not help."""

from __future__ import annotations

import sys
import time
from email.message import Message
from typing import Any
from urllib.error import HTTPError

import pytest
from ansible_modules import ROOT, prepared, run


def test_a_redis_that_takes_no_writes_ends_the_proof_within_seconds(director: Any) -> None:
    """Nothing that is waited for would change it: the reason and the advice are the error."""
    refusal = "it refuses writes (OOM command not allowed); raise band_redis_maxmemory"
    director.redis = {"status": "failing", "reason": refusal}
    args = prepared(director, "band_event", {"ip": "77.88.8.8", "user_agent": "x", "timeout": 300})
    begun = time.monotonic()
    done = run("band_event", args)
    assert done["failed"]
    assert f"Redis is failing: {refusal}" in done["msg"]
    assert time.monotonic() - begun < 25


def test_a_front_that_refuses_events_ends_the_proof_within_seconds(director: Any) -> None:
    """A full journal does not empty itself while the set-up waits; what front answers is in the error."""
    director.full = "the journal is full"
    args = prepared(director, "band_event", {"ip": "77.88.8.8", "user_agent": "x", "timeout": 300})
    begun = time.monotonic()
    done = run("band_event", args)
    assert done["failed"]
    assert "front refuses every event with 503 (the journal is full)" in done["msg"]
    assert time.monotonic() - begun < 35


def test_an_enricher_that_only_says_why_not_is_missed(director: Any) -> None:
    """A geo service without a database answers with a reason: that is no data, and the error quotes it."""
    director.enriched["mmgeo"] = {"reason": "no database yet"}
    args = prepared(director, "band_event", {"ip": "77.88.8.8", "user_agent": "x", "enrichers": ["mmgeo", "uaparser"]})
    done = run("band_event", {**args, "timeout": 1})
    assert done["failed"]
    assert "carries no data of mmgeo (no database yet)" in done["msg"]


def test_a_download_that_is_waited_for_is_told(director: Any) -> None:
    """Of an enricher without data: what it downloads, or else what is missing. No event is sent during a download."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.rockstat.band.plugins.modules import band_event

    director.enriched["mmgeo"] = {"reason": "no database yet"}
    director.downloads["mmgeo"] = "downloading from dbip, 12 of 48 MB"
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == 2:
            director.downloads.clear()
        elif len(told) == 3:
            director.enriched.clear()

    args = {"path": "/track/setup.json", "ip": "77.88.8.8", "user_agent": "x", "data": {}, "token": "", "timeout": 20}
    given = {**args, "url": director.url, "front_url": director.url, "enrichers": ["mmgeo", "uaparser"]}
    outcome = band_event.Probe(given).run(tell)
    assert (outcome["problem"], outcome["attempts"]) == ("", 3)
    assert told == [
        *["mmgeo: downloading from dbip, 12 of 48 MB"] * 2,
        "the event carries no data of mmgeo (no database yet)",
    ]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [([[], ["pk_a", "pk_b"]], ""), ([[]], "no project has a public key; create one: band project set")],
)
def test_a_front_that_takes_keys_only_gets_that_of_a_project(
    director: Any, monkeypatch: pytest.MonkeyPatch, keys: list[list[str]], problem: str
) -> None:
    """With band_require_key the proof needs one, and asks the director; it says what to do when there is none."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.rockstat.band.plugins.modules import band_event

    opened = band_event.open_url

    def front(url: str, **request: Any) -> Any:
        if request["headers"].get("X-Write-Key") != "pk_a":
            raise HTTPError(url, 403, "Forbidden", Message(), None)
        return opened(url, **request)

    monkeypatch.setattr(band_event, "open_url", front)
    args = {"path": "/track/setup.json", "ip": "77.88.8.8", "user_agent": "x", "data": {}, "token": "", "timeout": 1}
    probe = band_event.Probe({**args, "url": director.url, "front_url": director.url, "enrichers": []})
    get = probe._director.get
    projects = [{"id": str(number), "public_keys": own} for number, own in enumerate(keys)]
    monkeypatch.setattr(probe._director, "get", lambda path: projects if path == "/projects" else get(path))
    said = probe.run(lambda _: None)["problem"]
    assert (problem in said) if problem else not said
