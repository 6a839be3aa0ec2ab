"""Several workers' health as one, several workers' metrics as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from band.service.health import DEGRADED, OK, worst

_GAUGES: Final[Mapping[str, Callable[[float, float], float]]] = {
    "band_redis_connected": min,
    "band_uptime_seconds": max,
    "band_front_journal_oldest_seconds": max,
    "band_front_stream_length": max,
    "band_front_stream_bytes": max,
    "band_front_stream_lag": max,
}
"""What is not a sum of all workers."""


def merge_health(found: Mapping[int, Mapping[str, Any]], silent: Iterable[int] = ()) -> dict[str, Any]:
    """One state of all: each check as the worker has it whom it goes worst, by worker where it is not well.

    `found` is worker -> its state (`{"status", "checks"}`), `silent` those that did not tell.
    """
    checks: dict[str, dict[str, Any]] = {}
    for number, state in sorted(found.items()):
        for name, facts in state.get("checks", {}).items():
            known = checks.get(name)
            if known is None or worst([known["status"], facts["status"]]) != known["status"]:
                checks[name] = {**facts} if facts["status"] == OK else {**facts, "worker": number}
    missing = sorted(silent)
    states = {str(number): state.get("status", "failing") for number, state in sorted(found.items())}
    if missing:
        names = ", ".join(str(number) for number in missing)
        hint = "one that ended is started again by itself, front's log says why it did; one that hangs: restart front"
        checks["workers"] = {"status": DEGRADED, "reason": f"no answer from worker {names}", "hint": hint, **states}
    elif len(states) > 1:
        checks["workers"] = {"status": OK, **states}
    return {"status": worst([check["status"] for check in checks.values()]), "checks": checks}


def merge_metrics(texts: Iterable[str]) -> str:
    """One page in the text format of Prometheus: equal samples are added up, a few gauges compared."""
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
