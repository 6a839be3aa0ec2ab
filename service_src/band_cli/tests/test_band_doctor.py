"""What the doctor finds, one cause at a time, and what it says to do."""

from __future__ import annotations

from typing import Any

import pytest

from band_cli.doctor import Finding, examine

NOW = 1_795_468_800.0


def row(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "state": "running", "health": "ok", "health_reason": "", "dead_letters": 0, **more}


def figures(**more: Any) -> dict[str, Any]:
    redis = {
        "maxmemory_policy": "noeviction", "maxmemory": 1000, "used_memory": 10, "append_only": True,
        "clock_ahead_seconds": 0.0,
    }  # fmt: skip
    well = {
        "time": NOW,
        "clock_synchronized": True,
        "disk": {"used_percent": 10.0, "free_bytes": 1e9},
        "open_ports": [],
    }
    return {**well, "groups": [], **more, "redis": {**redis, **more.get("redis", {})}}


def health(**more: Any) -> dict[str, Any]:
    return {part: {"status": "ok", "reason": ""} for part in ("director", "docker", "redis")} | more


def found(*rows: dict[str, Any], parts: dict[str, Any] | None = None, **more: Any) -> list[Finding]:
    return examine(health(**(parts or {})), [row("front"), *rows], figures(**more), NOW)


def test_a_platform_that_is_well_has_no_findings() -> None:
    """Nothing is said where nothing is wrong."""
    assert found(row("mmgeo", data={"age_days": 3.0, "warning": None})) == []


@pytest.mark.parametrize(
    ("level", "about", "said", "rows", "more"),
    [
        (
            "error", "send_mixpanel", "Mixpanel refuses the credentials",
            [row("send_mixpanel", health="failing", health_reason="Mixpanel refuses the credentials (401)")], {},
        ),
        (
            "warning", "sxgeo", "the data is 2 months old (source: sypex)",
            [row("sxgeo", data={"source": "sypex", "age_days": 61.0, "warning": "the data is 2 months old"})], {},
        ),
        ("warning", "listener", "3 events could not be processed", [row("listener", dead_letters=3)], {}),
        (
            "warning", "x", "release b was rolled back to a: it exited",
            [row("x", rolled_back={"from": "b", "to": "a", "reason": "it exited"})], {},
        ),
        ("error", "redis", "allkeys-lru", [], {"redis": {"maxmemory_policy": "allkeys-lru"}}),
        ("error", "redis", "no append-only file", [], {"redis": {"append_only": False}}),
        ("warning", "redis", "90 % full", [], {"redis": {"used_memory": 900}}),
        ("error", "redis", "port 6379", [], {"open_ports": [{"service": "redis", "address": "0.0.0.0", "port": 6379}]}),
        (
            "warning", "director", "port 10000",
            [], {"open_ports": [{"service": "director", "address": "10.0.0.1", "port": 10000}]},
        ),
        ("warning", "clock", "30 s ahead of this machine", [], {"time": NOW + 30}),
        ("warning", "clock", "7 s behind the director's", [], {"redis": {"clock_ahead_seconds": -7.0}}),
        ("note", "clock", "not synchronized", [], {"clock_synchronized": False}),
        ("warning", "disk", "85 % full, 1.0 GB are free", [], {"disk": {"used_percent": 85.0, "free_bytes": 1e9}}),
        ("error", "disk", "95 % full", [], {"disk": {"used_percent": 95.0, "free_bytes": 1e9}}),
        (
            "warning", "group store", "12 events waiting for store, the oldest for 15 min",
            [], {"groups": [{"name": "store", "service": True, "waiting": 10, "pending": 2, "oldest_seconds": 900.0}]},
        ),
    ],
)  # fmt: skip
def test_each_cause_is_named_with_what_to_do(
    level: str, about: str, said: str, rows: list[dict[str, Any]], more: dict[str, Any]
) -> None:
    """One cause is one finding."""
    (finding,) = found(*rows, **more)
    assert (finding.level, finding.about) == (level, about)
    assert said in finding.problem
    assert finding.remedy


def test_the_worst_comes_first() -> None:
    """Errors, then warnings, then notes."""
    levels = [
        finding.level
        for finding in found(row("x", dead_letters=1), clock_synchronized=False, redis={"append_only": False})
    ]
    assert levels == ["error", "warning", "note"]


def test_parts_that_are_away_and_an_older_director() -> None:
    """Docker and Redis away are errors; without figures that is said, and the rest is examined."""
    away = health(docker={"status": "away", "reason": "no socket"}, redis={"status": "degraded", "reason": "slow"})
    levels = {one.about: one.level for one in examine(away, [row("front")], None, NOW)}
    assert levels == {"docker": "error", "redis": "warning", "director": "note"}


@pytest.mark.parametrize("missing", ["redis", "groups"])
def test_figures_that_could_not_be_read_are_a_warning(missing: str) -> None:
    """Not known is not well; while Redis itself is unavailable, that is said, and nothing else."""
    unread = {**figures(), missing: None}
    (finding,) = examine(health(), [row("front")], unread, NOW)
    assert (finding.level, finding.about) == ("warning", "redis")
    assert "its figures could not be read" in finding.problem
    gone = health(redis={"status": "unavailable", "reason": "[Errno 111] Connection refused"})
    (finding,) = examine(gone, [row("front")], unread, NOW)
    assert (finding.level, finding.problem) == ("error", "unavailable: Connection refused")


def test_a_listener_that_only_just_got_events_is_no_finding() -> None:
    """Every listener is behind for a moment."""
    assert found(groups=[{"name": "x", "service": True, "waiting": 5, "pending": 0, "oldest_seconds": 2.0}]) == []


def test_a_group_nobody_reads_for_is_told_as_it_is() -> None:
    """Of a stopped service for which nothing waits it is good to know, not wrong; the name is safe in a shell."""
    group = {"name": "x", "service": False, "waiting": 0, "pending": 0, "oldest_seconds": 0.0}
    (finding,) = found(row("x", state="exited", health="stopped"), groups=[group])
    assert (finding.level, "0 events" in finding.problem) == ("note", False)
    assert "x is not running: the stream is not trimmed and grows" in finding.problem
    assert finding.remedy.startswith("band start x; ")
    assert finding.remedy.endswith("docker exec redis redis-admin XGROUP DESTROY events x")
    (finding,) = found(row("x", state="exited", health="stopped"), groups=[{**group, "name": "x.crm"}])
    assert finding.remedy.startswith("band start x; ")
    assert finding.remedy.endswith("DESTROY events x.crm")
    (finding,) = found(groups=[{**group, "name": "a;b", "waiting": 3}])
    assert (finding.level, "no service consumes it, with 3 events waiting" in finding.problem) == ("warning", True)
    assert finding.remedy.endswith("DESTROY events 'a;b'")


def test_commands_are_those_of_the_platform_that_was_examined() -> None:
    """On a host with two platforms, `band` and the container `redis` are the other one's."""
    group = {"name": "x", "service": False, "waiting": 1, "pending": 0, "oldest_seconds": 0.0}
    rows = [row("front", health="failing", health_reason="it has no band left")]
    given = examine(health(), rows, figures(groups=[group], namespace="demo"), NOW, "demo-band")
    assert [(one.problem, one.remedy) for one in given] == [
        ("failing: it has no band left", "demo-band logs front"),
        (
            "no service consumes it, with 1 event waiting: the stream is not trimmed and grows",
            "demo-band run x; if it is gone for good, docker exec demo-redis redis-admin XGROUP DESTROY events x",
        ),
    ]
