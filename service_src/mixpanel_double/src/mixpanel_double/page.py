"""The page for a person who wants to see events arrive."""

from datetime import UTC, datetime
from html import escape
from typing import Any

import msgspec

from mixpanel_double.rules import seconds

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Stand-in for Mixpanel</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta http-equiv="refresh" content="5">
<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
b{font-size:1.6rem;display:block} .n{display:inline-block;margin-right:2.5rem} summary{cursor:pointer}
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.3rem 0} .q{color:#666}
@media (prefers-color-scheme:dark){body{color:#ddd;background:#161616} th,td{border-color:#333} .q{color:#999}}
</style></head><body>
<h1>What Mixpanel would have counted</h1>
<p class="q">A stand-in that enforces Mixpanel's rules, in memory only. It forgets everything when it stops.</p>
"""
_FIGURES = ("unique", "users", "duplicates", "refused")


def render_page(stats: dict[str, Any], events: list[dict[str, Any]]) -> str:
    """The page; every text in it comes from visitors and is escaped."""
    figures = "".join(f'<span class="n"><b>{stats[name]}</b> {name}</span>' for name in _FIGURES)
    rows = "".join(map(_row, events)) or '<tr><td colspan="4">Nothing yet. Send an event to front.</td></tr>'
    return (
        f"{_HEAD}<p>{figures}</p><table><tr><th>time (UTC)</th><th>event</th><th>user</th><th>properties</th></tr>"
        f"{rows}</table></body></html>"
    )


def _row(event: dict[str, Any]) -> str:
    properties = event["properties"]
    place = ", ".join(
        str(properties[name])
        for name in ("$city", "$region", "mp_country_code", "$browser", "$os")
        if properties.get(name)
    )
    detail = escape(msgspec.json.format(msgspec.json.encode(properties), indent=1).decode())
    return (
        f"<tr><td>{escape(_moment(properties.get('time')))}</td><td>{escape(str(event['event']))}</td>"
        f"<td>{escape(str(properties.get('distinct_id') or '(nobody)'))}</td>"
        f"<td><details><summary>{escape(place) or 'all'}</summary><pre>{detail}</pre></details></td></tr>"
    )


def _moment(value: Any) -> str:
    if not isinstance(value, int | float):
        return ""
    return datetime.fromtimestamp(seconds(value), UTC).isoformat(sep=" ", timespec="seconds")[:19]
