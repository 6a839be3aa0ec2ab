"""The state of the platform at a glance, and what is wrong with it."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import Any

from band_cli import __version__
from band_cli.client import Director
from band_cli.doctor import Finding, examine
from band_cli.errors import UNWELL, CliError, NoDirector
from band_cli.output import Output
from band_cli.target import is_loopback
from band_cli.verbs.services import print_services

_MARKS = {"error": "✗", "warning": "!", "note": "·"}
_STYLES = {"error": "red", "warning": "yellow", "note": "cyan"}


def status(director: Director, output: Output) -> int:
    """Write the state of the director, Docker, Redis and the services; return the exit code."""
    health, rows = _health(director), director.get("/list")
    if output.as_json:
        output.json({**health, "list": rows})
    else:
        output.facts({
            "platform": health["status"], "director": _part(health["director"]),
            "version": health["director"]["version"],
            "docker": _part(health["docker"]), "redis": _part(health["redis"]),
            "services": f"{health['services']['running']} of {health['services']['total']} running",
        })  # fmt: skip
        if rows:
            output.say("")
            print_services(output, rows)
    return 0 if health["status"] == "ok" else UNWELL


def _part(facts: dict[str, Any]) -> str:
    return f"{facts['status']}: {facts['reason']}" if facts.get("reason") else str(facts["status"])


def _health(director: Director) -> dict[str, Any]:
    """Return `/health`; without Docker it has the status 503 and the same content."""
    found: dict[str, Any] = director.get("/health", also=503)
    return found


def doctor(director: Director, output: Output) -> int:
    """Say what is wrong and what to do; return the exit code."""
    health, rows = _health(director), director.get("/list")
    figures = _figures(director)
    found = examine(health, rows, figures, time.time(), os.environ.get("BAND_COMMAND", "band"))
    url = director.target.url
    if director.target.token and url.startswith("http:") and not is_loopback(url):
        remedy = "use https:// (docs/tls.md), or an SSH tunnel: ssh -L 10000:127.0.0.1:10000 HOST"
        found.append(Finding("warning", "token", f"it is sent unencrypted to {url}", remedy))
    bad = any(finding.level != "note" for finding in found)
    if output.as_json:
        output.json({"ok": not bad, "findings": [asdict(finding) for finding in found]})
        return UNWELL if bad else 0
    for finding in found:
        output.item(_MARKS[finding.level], f"{finding.about}: {finding.problem}", _STYLES[finding.level])
        if finding.remedy:
            output.item("  →", finding.remedy)
    seen = "director, Docker, Redis, disk, ports, clocks, listeners" if figures else "director, Docker, Redis"
    output.say(
        f"{'Checked' if bad else '✓ No problems. Checked'} {seen} and {len(rows)} services.", "" if bad else "green"
    )
    return UNWELL if bad else 0


def _figures(director: Director) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = director.get("/doctor")
    except NoDirector as error:
        if error.code == "http_404":
            return None
        raise
    except CliError as error:
        if error.code == "http":
            return None  # it has no such path
        raise
    return found


def version(director: Director, output: Output) -> None:
    """Write the versions of this command and of the director."""
    try:
        of_director = str(_health(director)["director"]["version"])
    except NoDirector:
        of_director = ""
    if output.as_json:
        output.json({"band": __version__, "director": of_director or None})
    else:
        output.line(f"band {__version__}")
        output.line(f"director {of_director or f'does not respond at {director.target.url}'}")
