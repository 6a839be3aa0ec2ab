"""What is wrong with a platform, in words, and what to do: a pure function of the director's responses."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from band_cli.client import VERBS, in_our_words
from band_cli.output import plural, size, span

DISK_WARNING, DISK_ERROR = 80.0, 90.0
"""Percent in use of the disk that images and events are on."""
MEMORY_WARNING = 85.0
"""Percent of Redis' memory limit."""
SKEW_SECONDS = 2.0
"""Difference from which clocks count as different; the network's delay is far smaller."""
BEHIND_SECONDS = 300.0
"""Age of a listener's oldest event from which it counts as behind."""
_ERRORS = frozenset({"failing", "crashing", "crashed", "unavailable", "away"})
_ERRNO = re.compile(r"\[Errno -?\d+\] ")

_TO_TYPE = re.compile(rf"\bband (?=(?:{'|'.join({words.split()[1] for words in VERBS.values()})})\b)")

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong (`error`), will be (`warning`), or is good to know (`note`)."""

    level: Level
    about: str
    problem: str
    remedy: str = ""


def examine(
    health: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Any] | None,
    now: float,
    command: str = "band",
) -> list[Finding]:
    """Return the findings, worst first.

    Args:
        health: the response of `/health`.
        rows: that of `/list`.
        figures: that of `/doctor`; None from a director that has none.
        now: seconds since 1970 on this machine, when the figures came.
        command: what to type for `band` here; on a host with a namespace it is another one's command.
    """
    found = [*_parts(health), *_services(rows)]
    if figures is None:
        problem = "it is older than this command and does not report disk, ports, clocks and listeners"
        found.append(Finding("note", "director", problem, "run bin/setup on its host"))
    else:
        found += [*_disk(figures), *_ports(figures), *_clocks(figures, now), *_redis(figures), *_groups(figures, rows)]
        found += _unread(health, figures)
    order = ["error", "warning", "note"]
    return [_typed(one, command) for one in sorted(found, key=lambda finding: order.index(finding.level))]


def _typed(finding: Finding, command: str) -> Finding:
    """Return a finding with `command` for `band` where it says what to type."""
    problem, remedy = (_TO_TYPE.sub(f"{command} ", text) for text in (finding.problem, finding.remedy))
    return replace(finding, problem=problem, remedy=remedy)


def _parts(health: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is wrong with the director, Docker and Redis."""
    for part in ("director", "docker", "redis"):
        facts = health[part]
        if facts["status"] != "ok":
            reason = _ERRNO.sub("", in_our_words(facts.get("reason") or "it gives no reason"))
            remedy = "on its host: systemctl status docker" if part == "docker" else f"band logs {part}"
            yield Finding(_level(facts["status"]), part, f"{facts['status']}: {reason}", remedy)


def _level(word: str) -> Level:
    return "error" if word in _ERRORS else "warning"


def _services(rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    if not any(row["name"] == "front" and row["state"] in {"running", "external"} for row in rows):
        yield Finding("error", "front", "it is not running, so no events are accepted", "band run front")
    for row in rows:
        yield from _service(row)


def _service(row: Mapping[str, Any]) -> Iterator[Finding]:
    name, health, reason = row["name"], row["health"], in_our_words(row.get("health_reason") or "")
    if health in _ERRORS or health == "degraded":
        yield Finding(_level(health), name, f"{health}: {reason or 'it gives no reason'}", f"band logs {name}")
    data = row.get("data") or {}
    if (warning := data.get("warning")) and str(warning) not in reason:
        origin = f" (source: {data['source']})" if data.get("source") else ""
        remedy = f"band logs {name} says why it was not updated; docs/{name}.md lists the sources"
        yield Finding("warning", name, f"{warning}{origin}", remedy)
    if letters := row.get("dead_letters"):
        remedy = (
            f"band call {name} dead_letters limit:=5 shows why; once the cause is fixed, "
            f"band call {name} replay_dead_letters processes them again"
        )
        yield Finding("warning", name, f"{plural(letters, 'event')} could not be processed (dead letters)", remedy)
    if back := row.get("rolled_back"):
        problem = f"release {back['from']} was rolled back to {back['to']}: {back['reason']}"
        yield Finding("warning", name, problem, f"fix its folder, then band run {name}")


def _disk(figures: Mapping[str, Any]) -> Iterator[Finding]:
    used, free = figures["disk"]["used_percent"], figures["disk"]["free_bytes"]
    if used >= DISK_WARNING:
        problem = f"it is {used:.0f} % full, {size(free)} are free; if it fills up, Redis refuses events"
        remedy = "docker system df shows what Docker stores; docker builder prune empties the build cache"
        yield Finding("error" if used >= DISK_ERROR else "warning", "disk", problem, remedy)


def _ports(figures: Mapping[str, Any]) -> Iterator[Finding]:
    for row in figures["open_ports"]:
        service, port = row["service"], f"port {row['port']} is published on {row['address']}"
        if service == "director":
            problem = f"{port}: anyone who has the token and can reach this host can run code in its services"
            remedy = "put the proxy in front of it, with TLS (docs/tls.md), or set band_listen to 127.0.0.1"
            yield Finding("warning", service, problem, remedy)
        else:
            problem = f"{port}: other machines can reach it, even if a firewall such as UFW seems to block it"
            remedy = "publish it on 127.0.0.1 only, and use the proxy for what others need (docs/tls.md)"
            yield Finding("error", service, problem, remedy)


def _clocks(figures: Mapping[str, Any], now: float) -> Iterator[Finding]:
    remedy = "synchronize it with NTP: apt-get install systemd-timesyncd, then timedatectl set-ntp true"
    off, redis = figures["time"] - now, (figures.get("redis") or {}).get("clock_ahead_seconds") or 0.0
    if abs(off) > SKEW_SECONDS:
        problem = f"the director's host is {_apart(off)} this machine; one of the two has the wrong time"
        yield Finding("warning", "clock", problem, remedy)
    if abs(redis) > SKEW_SECONDS:
        problem = f"Redis' host is {_apart(redis)} the director's; traces and leases depend on both clocks"
        yield Finding("warning", "clock", problem, remedy)
    if figures.get("clock_synchronized") is False:
        problem = "the clock of the director's host is not synchronized (according to the kernel)"
        yield Finding("note", "clock", problem, remedy)


def _apart(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def _unread(health: Mapping[str, Any], figures: Mapping[str, Any]) -> Iterator[Finding]:
    parts = [name for name, key in (("Redis", "redis"), ("the listeners", "groups")) if figures[key] is None]
    if parts and health["redis"]["status"] == "ok":
        problem = f"its figures could not be read, so nothing is known about {' and '.join(parts)}"
        yield Finding("warning", "redis", problem, "band logs director says why (figures_unreadable)")


def _redis(figures: Mapping[str, Any]) -> Iterator[Finding]:
    facts = figures.get("redis")
    if facts is None:
        return
    policy, most, used = facts["maxmemory_policy"], facts["maxmemory"], facts["used_memory"]
    where = "in redis.conf and with CONFIG SET; bin/setup does this for the platform's own Redis"
    if policy != "noeviction" and most:
        problem = f"its eviction policy is {policy}: when its memory is full, it discards accepted events"
        yield Finding("error", "redis", problem, f"set maxmemory-policy to noeviction, {where}")
    if not facts["append_only"]:
        problem = "it has no append-only file: a restart loses accepted events"
        yield Finding("error", "redis", problem, f"set appendonly to yes, {where}")
    if most and used * 100 >= MEMORY_WARNING * most:
        problem = (
            f"its memory is {used * 100 / most:.0f} % full ({size(used)} of {size(most)}); when full, it refuses events"
        )
        yield Finding("warning", "redis", problem, "find out which listener is behind, or raise band_redis_maxmemory")


def _groups(figures: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    namespace = figures.get("namespace", "rockstat")  # an older director does not tell
    redis = "redis" if namespace == "rockstat" else f"{namespace}-redis"
    for group in figures["groups"] or ():
        name, waiting, age = group["name"], group["waiting"] + group["pending"], group["oldest_seconds"]
        service = name.partition(".")[0]  # one service may have several groups: send_webhook.crm
        if not group["service"]:
            stopped = any(row["name"] == service for row in rows)
            wait = f", with {plural(waiting, 'event')} waiting" if waiting else ""
            problem = (
                f"{service + ' is not running' if stopped else 'no service consumes it'}{wait}: "
                "the stream is not trimmed and grows"
            )
            remedy = (
                f"band {'start' if stopped else 'run'} {service}; if it is gone for good, docker exec {redis} "
                f"redis-admin XGROUP DESTROY events {shlex.quote(name)}"
            )
            yield Finding("warning" if waiting else "note", f"group {name}", problem, remedy)
        elif waiting and age > BEHIND_SECONDS:
            problem = (
                f"{plural(waiting, 'event')} waiting for {name}, the oldest for {span(age)}: it holds back the stream"
            )
            yield Finding(
                "warning", f"group {name}", problem, f"band logs {service} says why, band restart {service} may help"
            )
