"""A service in the state of a module call: asks the director what would change, and requests that."""

from __future__ import annotations

import time
from typing import Any

from ansible_collections.rockstat.band.plugins.module_utils.director import Director, DirectorError
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import progress_lines

LOG_LINES = 30
SHORTEST_SECRET = 6
PAUSE = 0.5
# A degraded service works, with something to say (a geo database that is old).
WELL = frozenset({"ok", "degraded"})


def service_spec() -> dict[str, dict[str, Any]]:
    """Return the arguments that describe one service."""
    return {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["running", "stopped", "absent", "rolled_back"], "default": "running"},
        "env": {"type": "dict", "default": {}, "no_log": True},
        "limits": {"type": "dict", "default": {}},
        "pos": {"type": "str"},
        "release": {"type": "str", "default": ""},
    }


class Service:
    """One service of a director."""

    def __init__(self, director: Director, args: dict[str, Any], *, check: bool, timeout: float, wait: bool) -> None:
        self._director = director
        self._args = args
        self._name: str = args["name"]
        self._check = check
        self._timeout = timeout
        self._wait = wait

    def ensure(self) -> dict[str, Any]:
        """Bring the service to its state.

        Returns:
            `changed`, `action`, and the director's response if something was done.

        Raises:
            DirectorError: the director refused, failed or did not respond.
        """
        if self._args["state"] == "running":
            return self._run()
        if self._args["state"] == "rolled_back":
            return self.rollback(self._args["release"])
        return self._end(self._args["state"])

    def rollback(self, release: str = "") -> dict[str, Any]:
        """Roll back to a release: the named one, or the director's choice. Raises as `ensure` does."""
        current: dict[str, Any] = next((row for row in self.releases() if row["state"] == "current"), {})
        if release and release in (current.get("id"), current.get("spec_hash")):
            return {"changed": False, "action": "nothing", "from_release": release, "to_release": release}
        path, wanted = f"/rollback/{self._name}", {"to": release} if release else {}
        target = self._director.post(path, {**wanted, "dry_run": True}, timeout=60.0)
        if not self._check:
            self._director.post(path, wanted, timeout=self._timeout)
            self._await_health()
        # Two releases may have the same image and different settings: the id alone does not distinguish them.
        same = target["release"] == current.get("id")
        shown = [
            f"{one} ({row.get('spec_hash')})" if same else str(one)
            for one, row in ((current.get("id", ""), current), (target["release"], target))
        ]
        return {"changed": True, "action": "rollback", "from_release": shown[0], "to_release": shown[1]}

    def releases(self) -> list[dict[str, Any]]:
        """Return the releases that the director knows, newest first."""
        answer: dict[str, Any] = self._director.get(f"/releases/{self._name}")
        return list(answer["releases"])

    def current_release(self) -> str:
        """Return the id of the current release; empty if there is none."""
        try:
            return next((_key(row) for row in self.releases() if row["state"] == "current"), "")
        except DirectorError as error:
            if error.status == 404:
                return ""
            raise

    def difference(self, action: str, *, there: bool = True) -> dict[str, str]:
        """Return the diff: names, not values, since an environment has secrets. `there`: a director is available."""
        now = (self._current() if there else None) or {}
        before = [f"state: {now.get('state', 'absent')}"]
        if self._args["state"] != "running":
            after = [f"state: {self._args['state']}"]
        else:
            after = [
                "state: running",
                f"action: {action}",
                f"env: {', '.join(sorted(self._args['env'])) or '(its defaults)'}",
            ]
            after += [f"limits.{key}: {value}" for key, value in sorted(self._limits().items())]
        header = {"before_header": self._name, "after_header": self._name}
        return {**header, "before": "\n".join([*before, ""]), "after": "\n".join([*after, ""])}

    def _limits(self) -> dict[str, Any]:
        return {key: value for key, value in (self._args["limits"] or {}).items() if value is not None}

    def _run(self) -> dict[str, Any]:
        # A number or a boolean of YAML is text in an environment.
        body: dict[str, Any] = {
            "env": {k: _text(v) for k, v in (self._args["env"] or {}).items()},
            "limits": self._limits(),
        }
        if self._args["pos"]:
            body["pos"] = self._args["pos"]
        path = f"/run/{self._name}"
        told: dict[str, Any] = self._director.post(f"{path}?dry_run=1", body, timeout=60.0)
        would, result = str(told["would"]), {}
        if held := told.get("held"):
            # The contents were rolled back: /run would deploy them again, so only the running release is kept up.
            result["held"] = _held(held)
            path, body = f"/{would}/{self._name}", {}
        result["action"] = would
        if would == "nothing" or self._check:
            return {"changed": would != "nothing", **result}
        if held:
            answer = self._director.post(path, body, timeout=self._timeout)
        else:
            with progress_lines() as show:
                answer = self._director.follow(path, body, self._timeout, lambda line: show(f"{self._name}: {line}"))
        self._await_health()
        return {"changed": True, "short_id": answer["short_id"], "service_state": answer["state"], **result}

    def _end(self, state: str) -> dict[str, Any]:
        current = self._current()
        done = current is None or (state == "stopped" and current["wanted"] == "stopped")
        if done or self._check:
            return {"changed": not done, "action": "nothing" if done else state}
        verb = "stop" if state == "stopped" else "rm"
        answer = self._director.post(f"/{verb}/{self._name}", timeout=self._timeout)
        return {"changed": True, "action": state, "service_state": answer["state"]}

    def _current(self) -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] = self._director.get(f"/state?name={self._name}")
        except DirectorError as error:
            if error.status == 404:
                return None
            raise
        # A service that only announces itself, and runs elsewhere, is none that is here.
        return None if answer.get("state") == "external" and answer.get("wanted") == "unknown" else answer

    def _await_health(self) -> None:
        """Wait until the director reports it as healthy; it is ready already."""
        deadline = time.monotonic() + self._timeout
        word = ""
        while self._wait:
            word = str((self._current() or {}).get("health", "missing"))
            if word in WELL:
                return
            if time.monotonic() >= deadline:
                raise DirectorError(f"it runs, but is still {word} after {self._timeout:g} s", 504)
            time.sleep(PAUSE)


def _key(row: dict[str, Any]) -> str:
    """Return the key of a release: two may have the same image and different settings."""
    return str(row.get("spec_hash") or row["id"])


def _held(release: dict[str, Any]) -> str:
    """Return the text about a release that was rolled back, with the reason unless it repeats that."""
    reason = str(release.get("reason") or "")
    how = reason.removeprefix("rolled back ") if reason.startswith("rolled back ") else f"({reason})" if reason else ""
    return " ".join(
        [f"release {release.get('id')} was rolled back {how}".strip() + ",",
         "so it is not deployed again until its folder or settings change"]
    )  # fmt: skip


def spare_short_words(module: Any) -> None:
    """Unmask short values of an environment: masking one such as "2" would hide every 2 of an error."""
    module.no_log_values = {value for value in module.no_log_values if len(str(value)) >= SHORTEST_SECRET}


def explained(name: str, error: DirectorError) -> str:
    """Return the error of a service with the end of its log."""
    log = "\n".join(["", "The end of its log:", *error.log[-LOG_LINES:]]) if error.log else ""
    return f"{name}: {error}{log}"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
