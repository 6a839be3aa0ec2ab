"""The image folders, and what the forms of running and rolling back hold. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from director.images.progress import Building
from director.redact import MASK, is_secret


class Folder(msgspec.Struct, frozen=True, kw_only=True):
    """An image folder whose service does not run."""

    name: str
    title: str
    collection: str
    problem: str
    building: Building | None
    busy: bool


class Field(msgspec.Struct, frozen=True):
    """A variable of the form of running: its value is shown only when it is no secret."""

    key: str
    secret: bool
    set: bool
    shown: str


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A release as the page lists it; `at` is seconds since 1970, 0 when it is not known.

    `to` names it exactly: releases that differ in their env only have one id.
    """

    id: str
    to: str
    state: str
    tone: str
    at: float
    reason: str
    present: bool
    choosable: bool
    first: bool


_TONES = {"current": "ok", "good": "idle", "failed": "bad", "rolled_back": "warn"}


def fields(secrets: Collection[str], env: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[Field]:
    """Return the variables to ask for: declared secrets, what is set (`env`, masked already), what has a default."""
    found: list[Field] = []
    for key in [*secrets, *(key for key in sorted({*env, *defaults}) if key not in secrets)]:
        secret = key in secrets or is_secret(key) or env.get(key) == MASK
        value = env.get(key, defaults.get(key))
        found.append(Field(key, secret, key in env, "" if secret or value is None else str(value)))
    return found


def releases(listed: Iterable[Mapping[str, Any]]) -> list[Release]:
    """Return the rows of `/releases/<name>` as the page shows them, the newest that may be chosen marked."""
    found: list[Release] = []
    chosen = False
    for item in listed:
        state = str(item.get("state", ""))
        present = bool(item.get("images_present", True))
        choosable = present and state in {"good", "rolled_back"}
        first = choosable and state == "good" and not chosen
        chosen = chosen or first
        at = item.get("at")
        found.append(
            Release(
                id=str(item.get("id", "")),
                to=str(item.get("spec_hash") or item.get("id", "")),
                state=state.replace("_", " "),
                tone=_TONES.get(state, "idle"),
                at=float(at) if isinstance(at, int | float) else 0.0,
                reason=str(item.get("reason") or ""),
                present=present,
                choosable=choosable,
                first=first,
            )
        )
    return found
