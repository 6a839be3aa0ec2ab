#!/usr/bin/python
"""Send a real event to front and find it in the stream, enriched."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_event
short_description: Prove with a real event that the platform works
version_added: 0.1.0
description:
  - Sends an event to front, as a visitor's phone would, finds it by its id among the director's newest events,
    and looks for the data of each enricher.
  - Sends another one after a while when data is missing, since a geo service fetches its database when it runs
    for the first time.
  - Never reports a change, although the stream of events has one or a few more afterwards.
options:
  front_url:
    description: URL of front.
    type: str
    default: http://127.0.0.1:10001
  path:
    description: Path of the event, C(/<service>/<name>.json).
    type: str
    default: /track/setup.json
  ip:
    description: Address that the event seems to come from.
    type: str
    required: true
  user_agent:
    description: User-Agent that the event seems to come from.
    type: str
    required: true
  data:
    description: The event's own data.
    type: dict
    default: {}
  enrichers:
    description: Services whose data the stored event must contain.
    type: list
    elements: str
    default: []
  only_running:
    description: Whether to skip those of O(enrichers) that should not be running.
    type: bool
    default: false
  timeout:
    description: Seconds to wait for such an event.
    type: int
    default: 300
extends_documentation_fragment: [rockstat.band.director]
attributes:
  check_mode:
    support: partial
    description: Says whether it would work.
    details:
      - Sends nothing, since an event that is accepted stays in the stream, so it proves nothing either.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Send a test event end to end
  rockstat.band.band_event:
    ip: 77.88.8.8
    user_agent: >-
      Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)
      Version/17.5 Mobile/15E148 Safari/604.1
    enrichers: [mmgeo, uaparser]
"""

RETURN = r"""
event:
  description: The event as stored.
  type: dict
  returned: when one was found
attempts:
  description: How many events were sent.
  type: int
  returned: always
latency_ms:
  description: How long front took to answer the last one.
  type: float
  returned: always
seconds:
  description: How long it all took.
  type: float
  returned: always
"""

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.rockstat.band.plugins.module_utils.director import Director, DirectorError, connection_spec
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import progress_lines

NEWEST = 50
SEEN_WITHIN = 5.0
PAUSE = 2.0
# Refusals in a row for this long do not end by waiting: its journal is full, and Redis takes nothing.
REFUSED_FOR = 15.0
LOG_LINES = 12
FORBIDDEN = 403
SERVICE_UNAVAILABLE = 503


class Probe:
    """Sends events until one is complete, or the time is over."""

    def __init__(self, args: dict[str, Any]) -> None:
        self._args = args
        self._director = Director(args["url"], args["token"])
        self._expected: list[str] = args["enrichers"]
        self.attempts = 0
        self.latency_ms = 0.0
        self._key = ""
        self._refused_since = 0.0
        self._missed: list[str] = []

    def run(self, tell: Callable[[str], None]) -> dict[str, Any]:
        """Return the outcome: `problem` (empty when all is well), `event`, `attempts`, `latency_ms`.

        `tell` gets a line about what is waited for after each attempt.
        """
        deadline = time.monotonic() + float(self._args["timeout"])
        while True:
            event, problem = self._try()
            refused = self._refused_since and time.monotonic() - self._refused_since >= REFUSED_FOR
            if not problem or refused or time.monotonic() >= deadline:
                return {"problem": problem, "event": event, "attempts": self.attempts, "latency_ms": self.latency_ms}
            tell(self._downloads() or problem)
            time.sleep(PAUSE)
            # Until a download is done, another event would lack the same data, and listeners would get it.
            while (told := self._downloads()) and time.monotonic() < deadline:
                tell(told)
                time.sleep(PAUSE)

    def _downloads(self) -> str:
        return "; ".join(filter(None, map(self._download, self._missed)))

    def _download(self, name: str) -> str:
        """Return what a service without data is downloading; empty if it does not say."""
        try:
            checks = self._director.get(f"/ask_state/{name}", timeout=PAUSE)["health"]["checks"]
            found = [str(facts["download"]) for facts in checks.values() if "download" in facts]
        except (DirectorError, LookupError, TypeError, AttributeError):
            return ""
        return f"{name}: {', '.join(found)}" if found else ""

    def prepare(self) -> None:
        """Wait for the director, and omit enrichers that should not be running; raises DirectorError."""
        self._director.wait(min(60.0, float(self._args["timeout"])))
        if self._args["only_running"]:
            states: dict[str, Any] = self._director.get("/state")
            self._expected = [name for name in self._expected if states.get(name, {}).get("wanted") == "running"]

    def _try(self) -> tuple[dict[str, Any] | None, str]:
        self.attempts += 1
        self._missed = []
        try:
            identity = self._send()
            event = self._find(identity)
        except DirectorError as error:
            return None, str(error)
        if event is None:
            return None, f"front accepted event {identity}, and the director does not show it among the newest {NEWEST}"
        missing = {name: text for name in self._expected if (text := _missing(name, event.get("data", {}).get(name)))}
        self._missed = list(missing)
        return event, f"the event carries no data of {', '.join(missing.values())}" if missing else ""

    def _send(self) -> str:
        url = self._args["front_url"].rstrip("/") + self._args["path"]
        headers = {
            "Content-Type": "application/json",
            "User-Agent": self._args["user_agent"],
            "X-Real-IP": self._args["ip"],
        }
        if self._key:
            headers["X-Write-Key"] = self._key
        started = time.monotonic()
        try:
            answer = open_url(
                url, method="POST", data=json.dumps(self._args["data"]), headers=headers, timeout=10, use_proxy=False
            )
            body = json.loads(answer.read())
            self._refused_since = 0.0
        except HTTPError as error:
            if error.code == FORBIDDEN and not self._key:
                self._key = self._public_key()
                return self._send()
            raise self._refused(url, error) from error
        except (OSError, ValueError) as error:  # URLError is an OSError
            self._refused_since = 0.0
            raise DirectorError(f"front does not accept an event at {url}: {error}") from error
        self.latency_ms = round((time.monotonic() - started) * 1000, 1)
        if not isinstance(body, dict) or not body.get("id"):
            raise DirectorError(f"front answered the event without an id: {json.dumps(body)[:300]}")
        return str(body["id"])

    def _public_key(self) -> str:
        """Return the public key of a project: this front takes no event without one."""
        for project in self._director.get("/projects"):
            if project.get("public_keys"):
                return str(project["public_keys"][0])
        raise DirectorError(
            "front takes events with a write key only (band_require_key), and no project has a public key; create one: "
            "band project set NAME"
        )

    def _refused(self, url: str, error: HTTPError) -> DirectorError:
        if error.code != SERVICE_UNAVAILABLE:
            self._refused_since = 0.0
            return DirectorError(f"front does not accept an event at {url}: {error}")
        self._refused_since = self._refused_since or time.monotonic()
        text = error.read().decode("utf-8", "replace")
        try:
            text = json.loads(text)["reason"]
        except (ValueError, KeyError, TypeError):
            text = text[:300]
        return DirectorError(f"front refuses every event with {error.code} ({text})")

    def _find(self, identity: str) -> dict[str, Any] | None:
        deadline = time.monotonic() + SEEN_WITHIN
        while True:
            for entry in self._director.get(f"/events?limit={NEWEST}")["events"]:
                event = entry.get("event")
                if isinstance(event, dict) and str(event.get("id")) == identity:
                    return event
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.2)

    def report(self) -> str:
        """Return what an operator needs after a failure: states, and the end of each service's log."""
        try:
            states: dict[str, Any] = self._director.get("/state")
        except DirectorError as error:
            return str(error)
        lines = ["", "Services:"]
        lines += [
            f"  {name}: {row.get('state')}, health {row.get('health')}, {row.get('image')}"
            for name, row in sorted(states.items())
        ]
        for name in ["front", *self._expected]:
            lines += ["", f"The end of the log of {name}:", *self._log(name)]
        return "\n".join(lines)

    def _log(self, name: str) -> list[str]:
        try:
            text = self._director.get(f"/logs/{name}?tail={LOG_LINES}")
        except DirectorError as error:
            return [f"  ({error})"]
        return [f"  {line}" for line in str(text).splitlines()[-LOG_LINES:]] or ["  (empty)"]


def _missing(name: str, data: Any) -> str:
    """Return the enricher's name, with its reason if it gave one, if it added nothing; else an empty string."""
    if isinstance(data, dict) and set(data) <= {"reason"}:
        return f"{name} ({data['reason']})" if data else name
    return "" if data else name


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            "front_url": {"type": "str", "default": "http://127.0.0.1:10001"},
            "path": {"type": "str", "default": "/track/setup.json"},
            "ip": {"type": "str", "required": True},
            "user_agent": {"type": "str", "required": True},
            "data": {"type": "dict", "default": {}},
            "enrichers": {"type": "list", "elements": "str", "default": []},
            "only_running": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, attempts=0, latency_ms=0.0, seconds=0.0)
    started = time.monotonic()
    probe = Probe(module.params)
    try:
        probe.prepare()
    except DirectorError as error:
        module.fail_json(msg=str(error), attempts=0, latency_ms=0.0, seconds=round(time.monotonic() - started, 1))
    with progress_lines() as tell:
        outcome = probe.run(tell)
    outcome["seconds"] = round(time.monotonic() - started, 1)
    problem = outcome.pop("problem")
    if problem:
        module.fail_json(msg=f"After {outcome['seconds']:g} s {problem}.\n{probe.report()}", **outcome)
    module.exit_json(changed=False, **outcome)


if __name__ == "__main__":
    main()
