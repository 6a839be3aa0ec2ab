#!/usr/bin/python
"""Bring the services of a host to their states in one call; if one fails, those replaced before can be rolled back."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_services
short_description: Run, stop, remove or roll back services of the director
version_added: 0.1.0
description:
  - Asks the director, service by service, what the wanted state would take, and does it only when that is something.
  - The director builds the image when its contents changed, starts the new container beside the old one,
    waits until it answers and only then stops the old one.
  - Ends at the first one that fails. With O(rollback=true) those that this call replaced before it go back to the
    release that they ran. The one that failed never left its old release, since the director swaps only what answers.
options:
  services:
    description: What should run.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the service, which is the name of its image folder.
        type: str
        required: true
      state:
        description:
          - What it should be. An V(absent) one keeps its volumes and images.
          - A V(rolled_back) one goes back to O(services[].release); settings given here are not used then.
        type: str
        choices: [running, stopped, absent, rolled_back]
        default: running
      env:
        description: Its environment. Replaces what was given before; secrets may stand here.
        type: dict
        default: {}
      limits:
        description: Its limits (C(memory), C(cpus), C(pids)). Replaces what was given before.
        type: dict
        default: {}
      pos:
        description: Its place on the dashboard's grid, such as V(2x3). Left out, it stays where it is.
        type: str
      release:
        description: The release to go back to. Left out, the one that the director chooses (the last good one before).
        type: str
        default: ""
  wait:
    description: Whether to wait until the director calls each service well, beyond its first answer.
    type: bool
    default: false
  rollback:
    description: Whether those replaced before a failure go back.
    type: bool
    default: false
  sources_changed:
    description:
      - Services whose sources are about to change. Only check mode looks at it, where the director does not have them
        yet. It says then that these would be built.
    type: list
    elements: str
    default: []
  record:
    description: File on the host that keeps which services were named here, for M(rockstat.band.band_prune).
    type: path
  demo:
    description: Those of the services that are only there to try things with.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds that building, starting and the first answer of one service may take together.
    type: int
    default: 600
extends_documentation_fragment: [rockstat.band.director]
attributes:
  check_mode:
    support: full
    description: The director says what would be done, and does nothing.
  diff_mode:
    support: full
    description: Shows states and names, no values.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Run what the inventory names
  rockstat.band.band_services:
    services:
      - name: front
        limits: {memory: 500m}
      - name: send_mixpanel
        env:
          MIXPANEL_TOKEN: "{{ mixpanel_token }}"
          MIXPANEL_API_SECRET: "{{ mixpanel_api_secret }}"
      - name: tg_hellobot
        state: absent

- name: Go back to the last good release
  rockstat.band.band_services:
    services:
      - {name: uaparser, state: rolled_back}
    wait: true

- name: Stop it, until somebody starts it
  rockstat.band.band_services:
    services:
      - {name: uaparser, state: stopped}
"""

RETURN = r"""
actions:
  description: What was done with each service, or would be in check mode.
  type: dict
  returned: always
  sample: {front: nothing, mmgeo: build}
before:
  description: The releases that changed services ran before.
  type: dict
  returned: always
after:
  description: The releases that services went back to.
  type: dict
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.director import Director, DirectorError, connection_spec
from ansible_collections.rockstat.band.plugins.module_utils.record import DEMO, INVENTORY, read, write
from ansible_collections.rockstat.band.plugins.module_utils.service import (
    Service,
    explained,
    service_spec,
    spare_short_words,
)


class Services:
    """The services of a module call."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._args: dict[str, Any] = module.params
        self._director = Director(self._args["url"], self._args["token"])
        self.actions: dict[str, str] = {}
        self.before: dict[str, str] = {}
        self.after: dict[str, str] = {}
        self.diffs: list[dict[str, str]] = []

    def ensure(self) -> None:
        """Bring each to its state; fails the module at the first failure."""
        for entry in self._args["services"]:
            try:
                self._one(entry)
            except DirectorError as error:
                if self._module.check_mode and error.status == 0:
                    self.actions[entry["name"]] = "start" if entry["state"] == "running" else "nothing"
                    if self._module._diff and entry["state"] == "running":
                        self.diffs.append(self._service(entry).difference("start", there=False))
                    continue
                undone = self._undo() if self._args["rollback"] else []
                self.keep_names()
                message = "\n".join([explained(entry["name"], error), *undone])
                self._module.fail_json(msg=message, service=entry["name"], status=error.status, **self.result())

    def keep_names(self) -> None:
        """Record who named the services of this call."""
        path = self._args["record"]
        if not path or self._module.check_mode:
            return
        named = read(path, "services")
        for entry in self._args["services"]:
            if entry["state"] == "absent":
                named.pop(entry["name"], None)
            else:
                named[entry["name"]] = DEMO if entry["name"] in self._args["demo"] else INVENTORY
        write(path, "services", named)

    def result(self) -> dict[str, Any]:
        """Return what was done."""
        changed = any(action != "nothing" for action in self.actions.values())
        shown = {"diff": self.diffs} if self._module._diff else {}
        return {"changed": changed, "actions": self.actions, "before": self.before, "after": self.after, **shown}

    def _service(self, entry: dict[str, Any]) -> Service:
        return Service(
            self._director,
            entry,
            check=self._module.check_mode,
            timeout=float(self._args["timeout"]),
            wait=self._args["wait"],
        )

    def _one(self, entry: dict[str, Any]) -> None:
        service = self._service(entry)
        release = service.current_release() if self._args["rollback"] else ""
        diff = service.difference("run") if self._module._diff else {}
        result = service.ensure()
        if self._module.check_mode and entry["name"] in self._args["sources_changed"] and entry["state"] == "running":
            result.update(changed=True, action="build")
        self.actions[entry["name"]] = result["action"]
        if "held" in result:
            self._module.warn(f"{entry['name']}: {result['held']}.")
        if entry["state"] == "rolled_back":
            self.before[entry["name"]], self.after[entry["name"]] = result["from_release"], result["to_release"]
        elif result["changed"]:
            self.before[entry["name"]] = release
        if result["changed"] and diff:
            diff["after"] = diff["after"].replace("action: run", f"action: {result['action']}")
            self.diffs.append(diff)

    def _undo(self) -> list[str]:
        """Roll back what this call replaced, newest first; return a line for each."""
        lines = []
        for name, release in reversed(self.before.items()):
            if not release or self.actions[name] in ("stopped", "absent", "rollback"):
                continue
            entry = next(row for row in self._args["services"] if row["name"] == name)
            try:
                shown = self._service(entry).rollback(release)["to_release"]
                lines.append(f"{name} was rolled back to release {shown}.")
            except DirectorError as error:
                lines.append(f"{name} could not be rolled back to release {release}: {error}")
        return lines


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            "services": {"type": "list", "elements": "dict", "required": True, "options": service_spec()},
            "wait": {"type": "bool", "default": False},
            "rollback": {"type": "bool", "default": False},
            "sources_changed": {"type": "list", "elements": "str", "default": []},
            "record": {"type": "path"},
            "demo": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    spare_short_words(module)
    services = Services(module)
    services.ensure()
    services.keep_names()
    module.exit_json(**services.result())


if __name__ == "__main__":
    main()
