#!/usr/bin/env python3
"""Draw the pictures of docs/cli.md: what `band` writes on a terminal of 96 columns, from responses that stand here.

docs/tools/terminal.py writes docs/pictures/terminal-*.svg; with --check it only compares.
"""

from __future__ import annotations

import io
import os
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "service_src" / "band_cli" / "src"))
os.environ["TZ"] = "UTC"
time.tzset()

from rich.console import Console  # noqa: E402

from band_cli.client import Director  # noqa: E402
from band_cli.output import Output  # noqa: E402
from band_cli.target import Target  # noqa: E402
from band_cli.verbs import events, health, services  # noqa: E402

WIDTH, NOW = 96, 1795468800.0
MB = 1024 * 1024
# Rich's own, without the font that it would fetch from elsewhere.
SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg"><style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial; }}
{styles}</style><defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>{lines}</defs>{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g></svg>
"""


def row(name: str, port: int, *, up: float = 93_000, cpu: float = 0.4, memory: int = 40, **more: Any) -> dict[str, Any]:
    """Return a service as `/list` has it."""
    facts = {"state": "running", "health": "ok", "health_reason": "", "uptime": up, "cpu_percent": cpu}
    ports = [{"host": port, "container": 8080}] if port else []
    return {"name": name, **facts, "memory": memory * MB, "ports": ports, **more}


REFUSED = "Mixpanel refuses the credentials (401 Invalid project token); events are waiting. Set a valid MIXPANEL_TOKEN"
LIST = [
    row("front", 10001, cpu=3.1, memory=52),
    row("mmgeo", 8900, memory=71),
    row("send_mixpanel", 8903, up=2400, memory=38, health="failing", health_reason=REFUSED, dead_letters=3),
    row("sxgeo", 8901, memory=44, data={"source": "sypex", "age_days": 61.0, "warning": "the data is 2 months old"}),
    row("uaparser", 8902, cpu=0.2, memory=36),
]
WELL = {"status": "ok", "reason": ""}
HEALTH = {
    "status": "degraded", "director": {**WELL, "version": "0.1.0"}, "docker": WELL, "redis": WELL,
    "services": {"total": 5, "running": 5},
}  # fmt: skip
FIGURES = {
    "time": NOW, "clock_synchronized": True, "disk": {"used_percent": 84.0, "free_bytes": 6.4e9},
    "open_ports": [{"service": "redis", "address": "0.0.0.0", "port": 6379}],
    "redis": {
        "maxmemory_policy": "allkeys-lru", "maxmemory": 256 * MB, "used_memory": 90 * MB, "append_only": True,
        "clock_ahead_seconds": 0.0,
    },
    "groups": [
        {"name": "send_mixpanel", "service": True, "waiting": 18_204, "pending": 200, "oldest_seconds": 2350.0},
        {"name": "send_old", "service": False, "waiting": 90_112, "pending": 0, "oldest_seconds": 900_000.0},
    ],
}  # fmt: skip
TRACE = {
    "id": "7530784427379523585", "time": 1795468772471, "stream_id": "1795468772474-0",
    "event": {"key": "in.gen.track.signup", "uid": "7530784427379523001"},
    "trace": {"enrichers": {
        "mmgeo": {"ms": 2.61, "status": "ok"}, "sxgeo": {"ms": 1.94, "status": "ok"},
        "uaparser": {"ms": 0, "status": "cached"},
    }},
    "groups": [
        {"group": "send_mixpanel", "state": "taken", "at": 1795468773102, "ms": 212.4, "answer": {"sent": 200}},
        {"group": "visits", "state": "pending", "consumer": "visits-1", "deliveries": 2, "answer": None},
    ],
}  # fmt: skip
RELEASES = {"releases": [
    {"id": "c9e202d9a535", "spec_hash": "5f1a09b2c7de", "state": "current", "at": NOW - 400, "by": "watch", "reason": ""},
    {"id": "77ab01f3dd20", "spec_hash": "e0c1f2a3b4d5", "state": "rolled_back", "at": NOW - 470, "by": "run",
     "reason": "it exited with code 3 within its watch"},
    {"id": "c9e202d9a535", "spec_hash": "5f1a09b2c7de", "state": "good", "at": NOW - 90_000, "by": "run", "reason": ""},
]}  # fmt: skip
for _release in RELEASES["releases"]:
    _release |= {"images_present": True, "exit_code": None}


class Sample(Director):
    """Gives the responses of this file."""

    def get(self, path: str, _query: Any = None, **_: Any) -> Any:
        """Return the response of a path."""
        answers = {"/list": LIST, "/health": HEALTH, "/doctor": FIGURES}
        return answers[path] if path in answers else RELEASES if path.startswith("/releases/") else TRACE


class Recorded(Output):
    """Writes to a terminal of which a picture is made."""

    width = WIDTH

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(
            file=io.StringIO(), record=True, force_terminal=True, width=WIDTH, highlight=False, color_system="standard"
        )


SCENES = {
    "ps": lambda director, output: services.ps(director, output),
    "doctor": lambda director, output: health.doctor(director, output),
    "trace": lambda director, output: events.trace(director, output, TRACE["id"]),
    "releases": lambda director, output: services.releases(director, output, "sxgeo"),
}
TITLES = {"trace": f"band trace {TRACE['id']}", "releases": "band releases sxgeo"}


def picture(name: str) -> str:
    """Return the picture of a verb as SVG."""
    output = Recorded()
    with mock.patch("time.time", return_value=NOW):
        SCENES[name](Sample(Target()), output)
    output.say("")
    title = TITLES.get(name, f"band {name}")
    svg = output.console.export_svg(title=title, code_format=SVG, unique_id=f"terminal-{name}")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def main() -> int:
    """Write the pictures, or compare them."""
    stale = []
    for name in SCENES:
        path, drawn = ROOT / "docs" / "pictures" / f"terminal-{name}.svg", picture(name)
        if "--check" not in sys.argv:
            path.write_text(drawn, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != drawn:
            stale.append(path.name)
    if stale:
        print(f"{', '.join(stale)}: not what band writes today; run docs/tools/terminal.py")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
