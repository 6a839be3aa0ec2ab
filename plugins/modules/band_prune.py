#!/usr/bin/python
"""Remove the services that nobody names any more, and the images and containers that nobody needs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_prune
short_description: Remove what left the inventory
version_added: 0.1.0
description:
  - Lists the director's services that are not in O(keep), and what the director itself would throw away.
  - With O(apply=true) it is removed. Volumes stay; what is not the director's is not seen at all.
options:
  keep:
    description: Names of the services that stay. An empty list is refused, since it would remove all.
    type: list
    elements: str
    required: true
  apply:
    description: Whether to remove what was found.
    type: bool
    default: false
  timeout:
    description: Seconds that a step may take.
    type: int
    default: 300
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
    description: Says what would be removed.
  diff_mode:
    support: full
    description: Lists services, containers and images.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Look at what left the inventory
  rockstat.band.band_prune:
    keep: [front, mmgeo, sxgeo, uaparser]
"""

RETURN = r"""
services:
  description: Services that are not in O(keep).
  type: list
  elements: str
  returned: always
images:
  description: Images that nobody needs.
  type: list
  elements: raw
  returned: always
containers:
  description: Containers that nobody needs.
  type: list
  elements: raw
  returned: always
bytes:
  description: What the images take.
  type: int
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.director import Director, DirectorError, connection_spec


class Prune:
    """What a module call may remove."""

    def __init__(self, args: dict[str, Any]) -> None:
        self._director = Director(args["url"], args["token"])
        self._keep = frozenset(args["keep"])
        self._timeout = float(args["timeout"])

    def find(self) -> dict[str, Any]:
        """What could go; raises DirectorError."""
        states: dict[str, Any] = self._director.get("/state")
        loose: dict[str, Any] = self._director.get("/prune", timeout=self._timeout)
        return {
            "services": sorted(set(states) - self._keep),
            "images": loose.get("images") or [],
            "containers": loose.get("containers") or [],
            "bytes": int(loose.get("bytes") or 0),
        }

    def remove(self, found: dict[str, Any]) -> dict[str, Any]:
        """Remove the services first, since their images are not needed then; raises DirectorError."""
        for name in found["services"]:
            self._director.post(f"/rm/{name}", timeout=self._timeout)
        gone: dict[str, Any] = self._director.post("/prune?apply=1", timeout=self._timeout)
        return {**found, **{key: gone[key] for key in ("images", "containers", "bytes") if key in gone}}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            "keep": {"type": "list", "elements": "str", "required": True},
            "apply": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    if not module.params["keep"]:
        module.fail_json(
            msg="keep is empty, so every service would go. To take the platform away: playbooks/uninstall.yml."
        )
    prune = Prune(module.params)
    try:
        found = prune.find()
        something = bool(found["services"] or found["images"] or found["containers"])
        if something and module.params["apply"] and not module.check_mode:
            found = prune.remove(found)
    except DirectorError as error:
        if module.check_mode and error.status == 0:
            module.exit_json(changed=False, services=[], images=[], containers=[], bytes=0, skipped_reason=str(error))
        module.fail_json(msg=str(error), status=error.status)
    result: dict[str, Any] = {"changed": something and module.params["apply"], **found}
    if module._diff and result["changed"]:
        lines = [f"{kind[:-1]}: {one}" for kind in ("services", "containers", "images") for one in found[kind]]
        result["diff"] = {"before": "".join(f"{line}\n" for line in lines), "after": ""}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
