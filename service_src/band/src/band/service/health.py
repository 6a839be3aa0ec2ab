"""The health of a service: its own checks, and the connection to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from band.redis.link import RedisLink
from band.registry import Registry, resolve
from band.telemetry.logs import mask, mask_text

OK: Final = "ok"
"""The status of what works."""
DEGRADED: Final = "degraded"
"""The status of a check that works with problems; `reason` says which."""
FAILING: Final = "failing"
_ORDER: Final = (OK, DEGRADED, FAILING)

CHECK_TIMEOUT: Final = 2.0
"""Seconds that one check may take."""


def worst(states: list[str]) -> str:
    """Return the worst of several states; an unknown one counts as failing."""
    return max((state if state in _ORDER else FAILING for state in states), key=_ORDER.index, default=OK)


def _facts(found: Any) -> dict[str, Any]:
    """Return a check's result as a mapping: None and True mean ok, False failing, a string is the status."""
    if isinstance(found, Mapping):
        return dict(found)
    if found is None or found is True:
        return {}
    if isinstance(found, str) and found in _ORDER:
        return {"status": found}
    return {
        "status": FAILING,
        "reason": f"the check returned {found!r}, not {{'status': 'ok' | 'degraded' | 'failing'}}",
    }


def http_status(facts: Mapping[str, Any]) -> int:
    """Return the HTTP status of a page with this health: 503 while the service is failing."""
    return 503 if facts.get("status") == FAILING else 200


async def read_health(registry: Registry, link: RedisLink) -> dict[str, Any]:
    """Return ``{"status": …, "checks": {name: {"status": …, …}}}``; never raises."""
    checks: dict[str, dict[str, Any]] = {}
    if link.address is not None:
        checks["redis"] = (
            {"status": OK} if link.connected else {"status": DEGRADED, "reason": mask_text(link.last_error)}
        )
        checks["redis"]["reconnects"] = link.reconnects
    for name, framework_check in registry.framework_checks.items():
        if (told := framework_check()) is not None:
            checks[name] = mask(told)
    for check in registry.health_checks:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                facts = await resolve(check.handler.call({}))
        except TimeoutError:
            facts = {"status": FAILING, "reason": f"the check did not end within {CHECK_TIMEOUT:g} s"}
        except Exception as error:  # noqa: BLE001 - a broken check is a result, too
            facts = {"status": FAILING, "reason": mask_text(f"{type(error).__name__}: {error}")}
        checks[check.name] = mask({"status": OK, **_facts(facts)})
    return {"status": worst([str(check["status"]) for check in checks.values()]), "checks": checks}
