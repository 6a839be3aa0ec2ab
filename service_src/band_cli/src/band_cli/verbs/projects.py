"""Verbs of projects: list, show, set, key and rm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from band_cli.client import Director, path_of
from band_cli.errors import BadInput
from band_cli.output import Output, size

Project = dict[str, Any]


def list_projects(director: Director, output: Output) -> None:
    """List the projects with their keys, limits and origins."""
    rows = director.get("/projects")
    if output.as_json:
        output.json(rows)
        return
    cells = [
        [row["id"], "\n".join(row["public_keys"]) or "-", _rate(row), "inventory" if row["inventory"] else "-",
         " ".join(row["origins"]) or "every origin"]
        for row in rows
    ]  # fmt: skip
    output.table(["id", "public keys", "limit", "from", "origins"], cells)


def show(director: Director, output: Output, project_id: str) -> None:
    """Show all fields of a project."""
    row = director.get(path_of("projects", project_id))
    if output.as_json:
        output.json(row)
        return
    output.facts(
        {
            "id": row["id"],
            "public keys": "\n".join(row["public_keys"]) or "none",
            "secret keys": "\n".join(row["secret_keys"]) or "none",
            "origins": "\n".join(row["origins"]) or "every origin",
            "limit of a key": _rate(row),
            "limit of a visitor": _rate(row, "visitor_"),
            "body limit": size(row["body_limit"]) if row["body_limit"] else "front's own",
            "bots": row["bots"],
            "projectId": " ".join(row["project_ids"]) or "none",
            "ignored addresses": "\n".join(row["ignored_addresses"]) or "none",
            "consent": row["consent"],
            "time zone": row["timezone"],
            "from": "the inventory" if row["inventory"] else "",
        }
    )


def set_project(director: Director, output: Output, project_id: str, given: Mapping[str, Any]) -> None:
    """Create a project, or change the given fields of one."""
    fields = {name: _without_empty(value) for name, value in given.items() if value not in (None, ())}
    row = director.post(path_of("projects", project_id), fields)
    keys = f"; public key {' '.join(row['public_keys'])}" if row["public_keys"] else "; no public key"
    _told(output, row, f"project {row['id']} is set{keys}")


def change_key(director: Director, output: Output, project_id: str, kind: str | None, remove: str | None) -> None:
    """Add a key and write it alone to standard output, or remove one."""
    if bool(kind) == bool(remove):
        raise BadInput(
            "say which key: public or secret for a new one, or --remove KEY",
            f"band project show {project_id} lists the keys",
        )
    if remove:
        row = director.post(path_of("projects", project_id, "keys"), {"remove": remove})
        _told(output, row, f"the key of project {project_id} is removed; it is no longer accepted")
        return
    made = director.post(path_of("projects", project_id, "keys"), {"kind": kind})
    if output.as_json:
        output.json(made)
        return
    output.line(made["key"])
    if kind == "secret":
        output.note("This key is shown once: keep it in a vault. Servers use it, never pages or apps.")
    output.note(f"Keys that it had stay valid until you remove them: band project key {project_id} --remove KEY")


def remove(director: Director, output: Output, project_id: str) -> None:
    """Remove a project with its keys."""
    answer = director.post(path_of("projects", project_id, "remove"))
    what = "has its default settings and no keys" if project_id == "default" else "is removed with its keys"
    _told(output, answer, f"project {project_id} {what}")


def _without_empty(value: Any) -> Any:
    """Return a list without empty texts: `--origin ''` empties it."""
    return [item for item in value if item] if isinstance(value, tuple) else value


def _rate(row: Project, whose: str = "") -> str:
    rate, burst = row[f"{whose}events_per_second"], row[f"{whose}burst"]
    if not rate:
        return "none"
    return f"{rate}/s, burst {burst}" if burst else f"{rate}/s"


def _told(output: Output, answer: Any, sentence: str) -> None:
    if output.as_json:
        output.json(answer)
    else:
        output.say(sentence)
