#!/usr/bin/python
"""A service of the director: running as told, stopped or absent."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_service
short_description: Run, stop or remove a service of the director
version_added: 0.1.0
description:
  - Asks the director what running the service with these settings would do, and does it only when that is something.
  - The director builds the image when its contents changed, starts the new container beside the old one,
    waits until it answers and only then stops the old one.
options:
  name:
    description: Name of the service, which is the name of its image folder.
    type: str
    required: true
  state:
    description: What the service should be. An C(absent) one keeps its volumes and images.
    type: str
    choices: [running, stopped, absent]
    default: running
  env:
    description: Environment of the service. Replaces what was given before; secrets may stand here.
    type: dict
    default: {}
  limits:
    description: Limits (C(memory), C(cpus), C(pids)). Replaces what was given before.
    type: dict
    default: {}
  pos:
    description: Place on the dashboard's grid, such as C(2x3). Left out, it stays where it is.
    type: str
  timeout:
    description: Seconds that building, starting and the first answer may take together.
    type: int
    default: 600
  url:
    description: Address of the director.
    type: str
    default: http://127.0.0.1:10000
  token:
    description: Token of the director, when it has one.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: The director says what would be done, and does nothing.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Run the sender to Mixpanel
  rockstat.band.band_service:
    name: send_mixpanel
    env:
      MIXPANEL_TOKEN: "{{ mixpanel_token }}"
      MIXPANEL_API_SECRET: "{{ mixpanel_api_secret }}"
    limits:
      memory: 256m

- name: Take away a service that is not used any more
  rockstat.band.band_service:
    name: tg_hellobot
    state: absent
"""

RETURN = r"""
action:
  description: What was done, or would be in check mode.
  type: str
  returned: always
  sample: restart
short_id:
  description: The container's short id.
  type: str
  returned: when something was done
service_state:
  description: What the director says of the service.
  type: str
  returned: when something was done
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.director import Director, DirectorError, connection_spec

LOG_LINES = 30


class Service:
    """The service that a module call speaks of."""

    def __init__(self, module: AnsibleModule) -> None:
        self._args: dict[str, Any] = module.params
        self._name: str = self._args["name"]
        self._check = bool(module.check_mode)
        self._director = Director(self._args["url"], self._args["token"])

    def ensure(self) -> dict[str, Any]:
        """Bring the service to its state; raises DirectorError."""
        if self._args["state"] == "running":
            return self._run()
        return self._end(self._args["state"])

    def _run(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            # A number or a boolean of YAML is text in an environment.
            "env": {key: _text(value) for key, value in self._args["env"].items()},
            "limits": {key: value for key, value in self._args["limits"].items() if value is not None},
        }
        if self._args["pos"]:
            body["pos"] = self._args["pos"]
        path = f"/run/{self._name}"
        would = self._director.post(f"{path}?dry_run=1", body, timeout=60.0)["would"]
        if would == "nothing" or self._check:
            return {"changed": would != "nothing", "action": would}
        answer = self._director.post(path, body, timeout=float(self._args["timeout"]))
        return {"changed": True, "action": would, "short_id": answer["short_id"], "service_state": answer["state"]}

    def _end(self, state: str) -> dict[str, Any]:
        current = self._current()
        done = current is None or (state == "stopped" and current["wanted"] == "stopped")
        if done or self._check:
            return {"changed": not done, "action": "nothing" if done else state}
        verb = "stop" if state == "stopped" else "rm"
        answer = self._director.post(f"/{verb}/{self._name}", timeout=float(self._args["timeout"]))
        return {"changed": True, "action": state, "service_state": answer["state"]}

    def _current(self) -> dict[str, Any] | None:
        try:
            answer: dict[str, Any] = self._director.get(f"/state?name={self._name}")
        except DirectorError as error:
            if error.status == 404:
                return None
            raise
        return answer


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["running", "stopped", "absent"], "default": "running"},
            "env": {"type": "dict", "default": {}, "no_log": True},
            "limits": {"type": "dict", "default": {}},
            "pos": {"type": "str"},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**Service(module).ensure())
    except DirectorError as error:
        if module.check_mode and error.status == 0:
            module.exit_json(changed=module.params["state"] == "running", action="start", skipped_reason=str(error))
        log = "\n".join(["", "The end of its log:", *error.log[-LOG_LINES:]]) if error.log else ""
        module.fail_json(msg=f"{module.params['name']}: {error}{log}", status=error.status)


if __name__ == "__main__":
    main()
