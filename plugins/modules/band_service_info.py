#!/usr/bin/python
"""Return the state of the director and its services, at once or as soon as they are healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_service_info
short_description: State of the director and its services
version_added: 0.1.0
description:
  - Reads the director's health and the state of its services; changes nothing.
  - Can wait until the director is ready, or until named services are well, within a deadline.
options:
  wait_for:
    description: What to wait for. C(services) waits for those in I(services), and for the director first.
    type: str
    choices: [nothing, director, services]
    default: nothing
  services:
    description: Names of services to wait for; left empty, all that should be running.
    type: list
    elements: str
    default: []
  settle:
    description: Seconds that a degraded service gets to become ok, because its health may be a minute old.
    type: int
    default: 0
  only_running:
    description: Of O(services), wait only for those that should be running.
    type: bool
    default: false
  timeout:
    description: Seconds to wait.
    type: int
    default: 60
extends_documentation_fragment: [rockstat.band.director]
attributes:
  check_mode:
    support: full
    description: Reads only.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Wait until the geo services are well
  rockstat.band.band_service_info:
    wait_for: services
    services: [mmgeo, sxgeo]
    timeout: 300
"""

RETURN = r"""
health:
  description: The director's health.
  type: dict
  returned: always
services:
  description: State of each service, by name.
  type: dict
  returned: always
troubled:
  description: Those of I(services) that are not healthy, with their health.
  type: dict
  returned: always
seconds:
  description: How long it waited.
  type: float
  returned: always
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.director import Director, DirectorError, connection_spec
from ansible_collections.rockstat.band.plugins.module_utils.service import WELL

PAUSE = 1.0


def awaited(states: dict[str, Any], names: list[str], only_running: bool = False) -> list[str]:
    """Return the services to wait for: the named ones (with `only_running` those wanted), else all that are wanted."""
    running = sorted(name for name, row in states.items() if row.get("wanted") == "running")
    if only_running:
        return [name for name in running if not names or name in names]
    return names or running


def troubled(states: dict[str, Any], names: list[str], well: frozenset[str] = WELL) -> dict[str, str]:
    """Return those of the named services that are not healthy, each with a short reason."""
    found = {name: str(states.get(name, {}).get("health", "missing")) for name in names}
    return {name: word for name, word in found.items() if word not in well}


def look(director: Director, args: dict[str, Any]) -> dict[str, Any]:
    """Read health and states, after waiting as requested; raises DirectorError if the director does not respond."""
    started = time.monotonic()
    health = director.wait(args["timeout"]) if args["wait_for"] != "nothing" else director.get("/health")
    states: dict[str, Any] = director.get("/state")
    while args["wait_for"] == "services":
        waited = time.monotonic() - started
        well = WELL if waited >= args["settle"] else WELL - {"degraded"}
        names = awaited(states, args["services"], args["only_running"])
        if not troubled(states, names, well) or waited >= args["timeout"]:
            break
        time.sleep(PAUSE)
        states = director.get("/state")
    return {
        "health": health,
        "services": states,
        "troubled": troubled(states, awaited(states, args["services"], args["only_running"])),
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            "wait_for": {"type": "str", "choices": ["nothing", "director", "services"], "default": "nothing"},
            "services": {"type": "list", "elements": "str", "default": []},
            "only_running": {"type": "bool", "default": False},
            "settle": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    args: dict[str, Any] = module.params
    try:
        result = look(Director(args["url"], args["token"]), args)
    except DirectorError as error:
        module.fail_json(msg=str(error))
    if args["wait_for"] == "services" and result["troubled"]:
        words = ", ".join(f"{name} is {word}" for name, word in sorted(result["troubled"].items()))
        module.fail_json(msg=f"Not healthy after {result['seconds']:g} s: {words}.", changed=False, **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
