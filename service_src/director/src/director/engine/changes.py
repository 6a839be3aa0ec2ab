"""What changed between two pictures of the containers, in words: the lines of source `director`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from director.engine.interface import Observed


class Happening(msgspec.Struct, frozen=True):
    """Something that happened to a container of a service."""

    service: str
    container: str
    text: str


def between(
    before: Mapping[str, Observed], now: Iterable[Observed], how: Callable[[str], str] = lambda _: ""
) -> Iterator[Happening]:
    """Yield what happened from one picture (by container id) to the next.

    `how` tells how a service ended last, in words: Docker may start a container again before it is seen lying still.
    """
    present = {item.id: item for item in now if item.kind == "service"}
    for key, item in present.items():
        yield from _about(before.get(key), item, how)
    for key, item in before.items():
        if key not in present and item.kind == "service":
            yield Happening(item.service, key, f"container {item.short_id} removed")


def _about(was: Observed | None, item: Observed, how: Callable[[str], str]) -> Iterator[Happening]:
    if was is not None and was.state == item.state == "running" and was.started_at != item.started_at:
        ended = how(item.service) or "ended by itself"
        yield Happening(item.service, item.id, f"container {item.short_id} {ended}; Docker started it again")
    if was is None or (was.state, was.started_at) != (item.state, item.started_at):
        text = _state(item)
        if text:
            yield Happening(item.service, item.id, text)
    if was is not None and was.health != item.health and item.health in {"healthy", "unhealthy"} and item.alive:
        yield Happening(item.service, item.id, f"Docker's check says {item.health}")


def _state(item: Observed) -> str:
    if item.state == "running":
        return f"container {item.short_id} started, image {item.image}"
    if item.state in {"exited", "dead"}:
        how = ", out of memory" if item.oom_killed else ""
        return f"container {item.short_id} ended with exit code {item.exit_code}{how}"
    return f"container {item.short_id} is {item.state}" if item.state != "created" else ""
