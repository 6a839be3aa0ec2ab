#!/usr/bin/python
"""Bring a service of the director to a state: running with these settings, stopped or absent, or back to a release."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_service
short_description: Run, stop, remove or roll back a service of the director
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
    description: What the service should be. An V(absent) one keeps its volumes and images.
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
    description: Place on the dashboard's grid, such as V(2x3). Left out, it stays where it is.
    type: str
  wait:
    description: Whether to wait until the director calls the service well, beyond its first answer.
    type: bool
    default: true
  rollback:
    description: Go back to an earlier release instead. Settings given here are not used then.
    type: bool
    default: false
  release:
    description: The release to go back to. Left out, the last good one before the current.
    type: str
    default: ""
  timeout:
    description: Seconds that building, starting and the first answer may take together.
    type: int
    default: 600
extends_documentation_fragment: [rockstat.band.director]
attributes:
  check_mode:
    support: full
    description: The director says what would be done, and does nothing.
  diff_mode:
    support: full
    description: Shows the state and the names in the environment, no values.
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

- name: Go back to the last good release
  rockstat.band.band_service:
    name: send_mixpanel
    rollback: true

- name: Stop it, until somebody starts it
  rockstat.band.band_service:
    name: send_mixpanel
    state: stopped

- name: Take away a service that is not used any more
  rockstat.band.band_service:
    name: send_mixpanel
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
  returned: when it was run
service_state:
  description: What the director says of the service.
  type: str
  returned: when something was done
held:
  description: Which release was rolled back, and why, where that is what the settings ask for.
  type: str
  returned: when the director holds it back
from_release:
  description: The release of before.
  type: str
  returned: with rollback
to_release:
  description: The release of now.
  type: str
  returned: with rollback
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.director import Director, DirectorError, connection_spec
from ansible_collections.rockstat.band.plugins.module_utils.service import (
    Service,
    explained,
    service_spec,
    spare_short_words,
)


def ensure(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say; raises DirectorError."""
    args: dict[str, Any] = module.params
    director = Director(args["url"], args["token"])
    service = Service(director, args, check=module.check_mode, timeout=float(args["timeout"]), wait=args["wait"])
    if args["rollback"]:
        return service.rollback(args["release"])
    difference = service.difference if module._diff else None
    diff = difference("run") if difference else None
    result = service.ensure()
    if "held" in result:
        module.warn(
            f"{args['name']}: {result['held']}. It stays so until the folder or the settings change, or /run is called."
        )
    if diff and result["changed"]:
        result["diff"] = {**diff, "after": diff["after"].replace("action: run", f"action: {result['action']}")}
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            **service_spec(),
            "wait": {"type": "bool", "default": True},
            "rollback": {"type": "bool", "default": False},
            "release": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    spare_short_words(module)
    try:
        module.exit_json(**ensure(module))
    except DirectorError as error:
        if module.check_mode and error.status == 0:
            # Nothing to end and no release to go back to; a director that setup brings would start it.
            starts = module.params["state"] == "running" and not module.params["rollback"]
            module.exit_json(changed=starts, action="start" if starts else "nothing", skipped_reason=str(error))
        module.fail_json(msg=explained(module.params["name"], error), status=error.status)


if __name__ == "__main__":
    main()
