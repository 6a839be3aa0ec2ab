"""All workers of this front as one, which is what operators and the director see."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from band.platform import DEGRADED, OK, worst
from front.process import WorkerProcess
from front.workers.ipc import Handler, WorkerIpc


class Cluster:
    """Collects health and metrics from all workers, and passes on registrations that one received."""

    def __init__(
        self,
        process: WorkerProcess,
        health: Callable[[], Awaitable[dict[str, Any]]],
        metrics: Callable[[], bytes],
        on_push: Callable[[Any], None],
        on_tell: Callable[[Any], None],
    ) -> None:
        """`health` and `metrics` are this worker's own.

        `on_push` gets what another worker passed to `push`, `on_tell` what it passed to `tell`.
        """
        self._process = process
        self._health = health
        self._metrics = metrics
        handlers: dict[str, Handler] = {
            "health": lambda _payload: health(),
            "metrics": lambda _payload: metrics().decode(),
            "push": on_push,
            "tell": on_tell,
        }
        self._ipc = WorkerIpc(process, handlers)

    async def open(self) -> None:
        """Take requests of the others."""
        await self._ipc.open()

    async def close(self) -> None:
        """Take no more requests."""
        await self._ipc.close()

    async def health(self) -> dict[str, Any]:
        """Return the health of all; see `merge_health`."""
        if self._process.count == 1:
            return await self._health()
        own, others = await asyncio.gather(self._health(), self._ipc.request("health"))
        silent = set(self._ipc.others) - set(others)
        return merge_health({self._process.number: own, **others}, silent)

    async def metrics(self) -> bytes:
        """Return the metrics of all, added up."""
        if self._process.count == 1:
            return self._metrics()
        others = await self._ipc.request("metrics")
        return merge_metrics([self._metrics().decode(), *(others[number] for number in sorted(others))]).encode()

    def push(self, registrations: Any) -> None:
        """Send new registrations to the other workers; a starting worker reads them from Redis."""
        self._ipc.broadcast("push", registrations)

    def tell(self, taken: Any) -> None:
        """Tell the other workers what this one took of limits that all share."""
        self._ipc.broadcast("tell", taken, often=True)


_GAUGES: Final[Mapping[str, Callable[[float, float], float]]] = {
    "band_redis_connected": min,
    "band_uptime_seconds": max,
    "band_front_projects": max,
    "band_front_journal_oldest_seconds": max,
    "band_front_stream_length": max,
    "band_front_stream_bytes": max,
    "band_front_stream_lag": max,
}
"""How a gauge of several workers becomes one, where it is not their sum."""


def merge_health(found: Mapping[int, Mapping[str, Any]], silent: Iterable[int] = ()) -> dict[str, Any]:
    """Merge per check: the worst state, and the numbers of all; see `_merge_check`.

    `found` is worker -> its state (`{"status", "checks"}`), `silent` are the workers that did not respond.
    """
    of_workers: dict[str, dict[int, Mapping[str, Any]]] = {}
    for number, state in sorted(found.items()):
        for name, facts in state.get("checks", {}).items():
            of_workers.setdefault(name, {})[number] = facts
    checks = {name: _merge_check(told) for name, told in of_workers.items()}
    missing = sorted(silent)
    states = {str(number): state.get("status", "failing") for number, state in sorted(found.items())}
    if missing:
        names = ", ".join(str(number) for number in missing)
        hint = "a worker that exited is restarted automatically, and front's log says why; if one hangs, restart front"
        checks["workers"] = {"status": DEGRADED, "reason": f"no response from worker {names}", "hint": hint, **states}
    elif len(states) > 1:
        checks["workers"] = {"status": OK, **states}
    return {"status": worst([check["status"] for check in checks.values()]), "checks": checks}


def _merge_check(told: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the health of the worst worker, named unless it is ok, with the numbers of all.

    Numbers are added up; of those in seconds (`…_s`), which are ages, the largest is used.
    """
    state = worst([facts["status"] for facts in told.values()])
    number, found = next((number, facts) for number, facts in told.items() if worst([facts["status"]]) == state)
    merged = {**found, **_merge_numbers(told.values())}
    return merged if state == OK else {**merged, "worker": number}


def _merge_numbers(told: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for facts in told:
        for name, value in facts.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                known = numbers.get(name, 0)
                numbers[name] = max(known, value) if name.endswith("_s") else known + value
    return numbers


def merge_metrics(texts: Iterable[str]) -> str:
    """Merge pages in Prometheus' text format: equal samples are added up, except for a few gauges."""
    lines: dict[str, float | None] = {}
    for text in texts:
        for line in text.splitlines():
            if not line or line.startswith("#"):
                lines.setdefault(line, None)
                continue
            sample, _, number = line.rpartition(" ")
            value, known = float(number), lines.get(sample)
            join = _GAUGES.get(sample.partition("{")[0])
            lines[sample] = value if known is None else join(known, value) if join else known + value
    return _in_families(lines)


def _in_families(lines: Mapping[str, float | None]) -> str:
    """Write the page, the samples of a family below its own `# HELP` and `# TYPE`, as the format demands."""
    families: dict[str, list[str]] = {}
    for line, value in lines.items():
        if line.startswith("#"):
            name = line.split(" ", 3)[2]
            families.setdefault(name, []).append(line)
        elif line:
            sample = line.partition("{")[0]
            own = next((name for name in (sample, *_stems(sample)) if name in families), sample)
            families.setdefault(own, []).append(f"{line} {value}")
    return "\n".join(line for family in families.values() for line in family) + "\n"


def _stems(sample: str) -> list[str]:
    return [
        sample.removesuffix(end) for end in ("_total", "_bucket", "_sum", "_count", "_created") if sample.endswith(end)
    ]
