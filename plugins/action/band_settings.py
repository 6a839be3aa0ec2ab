"""Action of rockstat.band.band_settings: compares the host's variables with those of the roles."""

from __future__ import annotations

import os
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.rockstat.band.plugins.module_utils.settings import (
    known_settings,
    slips,
    unknown,
    wrong_entries,
    wrong_kind,
)

ROLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))), "roles")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _load(text: str) -> Any:
    return yaml.load(text, Loader=LOADER)  # noqa: S506 - a safe loader, the fast one where it is there


class ActionModule(ActionBase):
    """Reads variables on the controller; no host is touched."""

    _VALID_ARGS = frozenset({"renamed", "refused_secrets"})
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Compare, and fail with all problems."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = task_vars or {}
        known = known_settings(ROLES, _load)
        problems = unknown(list(given), known, self._task.args.get("renamed") or {})
        problems += slips(given, known)
        refused = self._task.args.get("refused_secrets") or []
        for name in sorted(set(given) & set(known)):
            problems += self._wrong(name, given[name], known[name], refused)
        result.update(changed=False, known=len(known))
        if problems:
            result.update(failed=True, msg="\n".join(["These settings are not valid:", *problems]))
        return result

    def _wrong(self, name: str, raw: Any, option: dict[str, Any], refused: list[str]) -> list[str]:
        try:
            value = self._templar.template(raw)
        except AnsibleError as error:
            return [f"{name} cannot be evaluated: {error}"]
        problem = wrong_kind(name, value, option, refused)
        return [problem] if problem else wrong_entries(name, value, option)
