"""Services: listing, running and stopping them, their releases and output."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

from band_cli.client import Director, in_our_words, path_of
from band_cli.errors import BadInput, CliError, Refused
from band_cli.output import Output, clean, clock, plural, progress, size, span

_BUILDKIT = re.compile(r"^#\d+(?: \d+\.\d+)?(?: (?:DONE \d.*|CACHED|\.\.\.)$)?")
NARROW = 76
"""Terminal width below which the table of services omits the least important columns."""
_WORDS = {
    "nothing": "is up to date",
    "build": "would be built and started",
    "start": "would be started",
    "restart": "would be replaced",
}


def ps(director: Director, output: Output) -> None:
    """List the services."""
    rows = director.get("/list")
    if output.as_json:
        output.json(rows)
    elif not rows:
        output.say("No services are running. band run NAME starts one that has an image folder (docs/director.md).")
    else:
        print_services(output, rows)


def print_services(output: Output, rows: list[dict[str, Any]]) -> None:
    """Write the table of services, and below it the reason of each one that is not healthy."""
    heads = ["name", "state", "health", "up", "cpu", "memory", "ports"]
    if output.width < NARROW:
        heads = [head for head in heads if head not in {"up", "cpu"}]
    cells = [_cells(row) for row in rows]
    output.table(heads, [[row[head] for head in heads] for row in cells], right=("up", "cpu", "memory"))
    for row in rows:
        for reason in _troubles(row):
            output.say(f"{row['name']}: {reason}", "yellow")


def _cells(row: dict[str, Any]) -> dict[str, str]:
    cpu = row.get("cpu_percent")
    return {
        "name": row["name"],
        "state": row["state"],
        "health": row["health"],
        "up": span(row["uptime"]) if row.get("uptime") else "-",
        "cpu": "-" if cpu is None else f"{cpu:.1f} %",
        "memory": size(row.get("memory")),
        "ports": " ".join(str(pair["host"]) for pair in row.get("ports") or ()) or "-",
    }


def _troubles(row: dict[str, Any]) -> Iterator[str]:
    if row.get("health_reason"):
        yield in_our_words(row["health_reason"])
    if letters := row.get("dead_letters"):
        yield f"{plural(letters, 'dead letter')}; band call {row['name']} dead_letters limit:=5 shows the newest"
    if back := row.get("rolled_back"):
        yield f"release {back['from']} was rolled back to {back['to']}: {back['reason']}"


def run(
    director: Director, output: Output, name: str, env: tuple[str, ...], *, nocache: bool, dry_run: bool, verbose: bool
) -> None:
    """Build and (re)start a service; on a terminal the steps of the build are shown."""
    body: dict[str, Any] = {"env": read_env(env)} if env else {}
    if nocache:
        body["nocache"] = True
    path = path_of("run", name)
    if dry_run:
        answer = director.post(path, {**body, "dry_run": True})
        what = _WORDS.get(answer["would"], answer["would"])
        held = f" ({answer['held']['id']} was rolled back: {answer['held']['reason']})" if answer.get("held") else ""
        _told(output, answer, f"{name} {what}, image {answer['image']}{held}")
        return
    begun = time.monotonic()
    if output.on_terminal or verbose:
        answer = _follow_run(director.lines(path, body={**body, "progress": True}), name, verbose=verbose)
    else:
        answer = director.post(path, body)
    took = f" after {time.monotonic() - begun:.1f} s" if output.on_terminal else ""
    _told(output, answer, f"{name} is {answer['state']}, container {answer['short_id']}{took}")


def read_env(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return `KEY=value` pairs as an object.

    Raises:
        BadInput: one has no `=`, or a key is there twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key or key in found:
            raise BadInput(
                f"--env {key or '…'!r}: not KEY=value, or given twice", "write --env KEY=value once for each key"
            )
        found[key] = value
    return found


def step_of(line: str) -> str:
    """Return a line of a build without the numbers of BuildKit; empty for one that only ends a step."""
    return _BUILDKIT.sub("", line).strip()


def _follow_run(lines: Iterator[str], name: str, *, verbose: bool) -> dict[str, Any]:
    """Show the progress line by line; return the result, which is the last line."""
    last = ""
    with progress(f"{name} …") as show:
        for line in lines:
            if last and verbose:
                sys.stderr.write(clean(last) + "\n")
            elif words := step_of(last):
                show(f"{name}: {words}")
            last = line or last
    try:
        answer: dict[str, Any] = json.loads(last)
    except ValueError:
        raise CliError(f"the director ended before {name} was up", "band logs director may say more") from None
    if facts := answer.get("error"):
        raise Refused(facts["message"], in_our_words(facts["hint"]), facts["code"], facts.get("log"))
    return answer


def change(director: Director, output: Output, verb: str, name: str) -> None:
    """Start, stop, restart or remove a service."""
    answer = director.post(path_of(verb, name))
    container = f", container {answer['short_id']}" if answer.get("short_id") and answer["state"] == "running" else ""
    _told(output, answer, f"{name} is {answer['state']}{container}")


def releases(director: Director, output: Output, name: str) -> None:
    """List what was deployed of a service, newest first."""
    answer = director.get(path_of("releases", name))
    if output.as_json:
        output.json(answer)
        return
    rows = [
        (one["id"], one["spec_hash"][:12], one["state"], clock(one["at"]), _BY.get(one["by"], one["by"]), _note(one))
        for one in answer["releases"]
    ]
    output.table(["id", "spec", "state", "at", "by", "note"], rows)


_BY = {"watch": "automatic rollback", "revive": "recovery", "renew": "changed settings", "adopted": "found running"}
"""What the director did by itself, in words."""


def _note(row: dict[str, Any]) -> str:
    gone = "" if row["images_present"] else "its image is gone"
    code = "" if row.get("exit_code") is None else f"exit code {row['exit_code']}"
    return "; ".join(filter(None, [row["reason"], code, gone]))


def rollback(director: Director, output: Output, name: str, to: str | None, *, dry_run: bool) -> None:
    """Return to an earlier release."""
    body: dict[str, Any] = {"to": to} if to else {}
    answer = director.post(path_of("rollback", name), {**body, "dry_run": True} if dry_run else body)
    if dry_run:
        _told(output, answer, f"{name} would be rolled back to release {answer['release']}")
        return
    _told(
        output, answer, f"{name} is {answer['state']} with release {answer['release']}, container {answer['short_id']}"
    )


def logs(director: Director, output: Output, name: str, *, follow: bool, tail: int) -> None:
    """Write the output of a service as it is, or a JSON object a line."""
    asked = {"tail": str(tail), "follow": "1" if follow else ""}
    for line in director.lines(path_of("logs", name), asked, follow=follow):
        if output.as_json:
            output.json({"service": name, "line": line})
        else:
            output.line(line)


def _told(output: Output, answer: dict[str, Any], sentence: str) -> None:
    if output.as_json:
        output.json(answer)
    else:
        output.say(sentence)
