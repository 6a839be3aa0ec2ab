#!/usr/bin/python
"""Remove the services that the inventory no longer names, and unused images and containers."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_prune
short_description: Remove what left the inventory
version_added: 0.1.0
description:
  - Lists the director's services that are not in O(keep), and what the director itself would throw away.
  - With O(record) services that no inventory has named stay, and so do those of the demo, unless O(also) names them.
  - Old images of the platform's core (base, Redis, director) that no container uses are among them.
  - With O(apply=true) it is removed. Volumes stay; what is not the director's is not seen at all.
options:
  keep:
    description: Names of the services that stay. An empty list is refused, since it would remove all.
    type: list
    elements: str
    required: true
  record:
    description: The file of M(rockstat.band.band_services) that keeps which services an inventory has named.
    type: path
  also:
    description: Services to remove although somebody ran them by hand, or the demo did.
    type: list
    elements: str
    default: []
  apply:
    description: Whether to remove what was found.
    type: bool
    default: false
  core_images:
    description: Repositories of the core's images.
    type: list
    elements: str
    default: [rockstat/band-base-py, rockstat/redis, rockstat/director]
  timeout:
    description: Seconds that a step may take.
    type: int
    default: 300
extends_documentation_fragment: [rockstat.band.director]
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
  description: Services that are not in O(keep) and go.
  type: list
  elements: str
  returned: always
by_hand:
  description: Services that are not in O(keep) and stay, since somebody ran them by hand.
  type: list
  elements: str
  returned: always
demo:
  description: Services that are not in O(keep) and stay, since they are those of the demo.
  type: list
  elements: str
  returned: always
images:
  description: Images that nobody needs.
  type: list
  elements: str
  returned: always
containers:
  description: Containers that nobody needs.
  type: list
  elements: str
  returned: always
bytes:
  description: What the images take.
  type: int
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.director import Director, DirectorError, connection_spec
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import run
from ansible_collections.rockstat.band.plugins.module_utils.record import DEMO, INVENTORY, read, write


class Prune:
    """What a module call may remove."""

    def __init__(self, module: AnsibleModule) -> None:
        args: dict[str, Any] = module.params
        self._core: list[str] = args["core_images"]
        self._director = Director(args["url"], args["token"])
        self._keep = frozenset(args["keep"])
        self._also = frozenset(args["also"])
        self._record: str = args["record"] or ""
        self._timeout = float(args["timeout"])

    def find(self) -> dict[str, Any]:
        """Return what can be removed; raises DirectorError."""
        told: dict[str, dict[str, Any]] = self._director.get("/state")
        # What announces itself and runs elsewhere is nobody's to remove here.
        states = {name: row for name, row in told.items() if row.get("state") != "external"}
        loose: dict[str, Any] = self._director.get("/prune", timeout=self._timeout)
        named = read(self._record, "services") if self._record else dict.fromkeys(states, INVENTORY)
        rest = {name: "" if name in self._also else named.get(name, "by_hand") for name in set(states) - self._keep}
        return {
            "services": sorted(name for name, whose in rest.items() if whose in ("", INVENTORY)),
            "by_hand": sorted(name for name, whose in rest.items() if whose == "by_hand"),
            "demo": sorted(name for name, whose in rest.items() if whose == DEMO),
            "images": [*(_name(image) for image in loose.get("images") or []), *self._old_core_images()],
            "containers": [_name(container) for container in loose.get("containers") or []],
            "bytes": int(loose.get("bytes") or 0),
        }

    def remove(self, found: dict[str, Any]) -> dict[str, Any]:
        """Remove the services first, because that frees their images; raises DirectorError."""
        for name in found["services"]:
            self._director.post(f"/rm/{name}", timeout=self._timeout)
        if self._record:
            left = {k: v for k, v in read(self._record, "services").items() if k not in found["services"]}
            write(self._record, "services", left)
        self._director.post("/prune?apply=1", timeout=self._timeout)
        for image in self._old_core_images():
            run("image", "rm", image)
        return found

    def _old_core_images(self) -> list[str]:
        """Return images of the core under a hash that no container uses and that no other name keeps."""
        # Without a client here the director stands on another engine than this host's.
        names = run("container", "ls", "--all", "--no-trunc", "--format", "{{.Image}}").out.split()
        used = {run("image", "inspect", "--format", "{{.Id}}", name).out.strip() for name in set(names)}
        old = []
        for repository in self._core:
            listed = run("image", "ls", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}", repository)
            rows = [line.split(" ", 1) for line in listed.out.splitlines()]
            kept = used | {row[0] for row in rows if row[1].endswith(":latest")}
            if not kept.intersection(row[0] for row in rows):
                kept |= {row[0] for row in rows[:1]}
            old += [name for identity, name in rows if identity not in kept]
        return old


def _name(row: Any) -> str:
    return str(row.get("image") or row.get("name") or row) if isinstance(row, dict) else str(row)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            "keep": {"type": "list", "elements": "str", "required": True},
            "record": {"type": "path"},
            "also": {"type": "list", "elements": "str", "default": []},
            "core_images": {
                "type": "list",
                "elements": "str",
                "default": ["rockstat/band-base-py", "rockstat/redis", "rockstat/director"],
            },
            "apply": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    if not module.params["keep"]:
        module.fail_json(
            msg="keep is empty, so every service would be removed. To remove the platform, run playbooks/uninstall.yml."
        )
    prune = Prune(module)
    try:
        found = prune.find()
        something = bool(found["services"] or found["images"] or found["containers"])
        if something and module.params["apply"] and not module.check_mode:
            found = prune.remove(found)
    except DirectorError as error:
        if module.check_mode and error.status == 0:
            module.exit_json(
                changed=False,
                services=[],
                by_hand=[],
                demo=[],
                images=[],
                containers=[],
                bytes=0,
                skipped_reason=str(error),
            )
        module.fail_json(msg=str(error), status=error.status)
    result: dict[str, Any] = {"changed": something and module.params["apply"], **found}
    if module._diff and result["changed"]:
        lines = [f"{kind[:-1]}: {one}" for kind in ("services", "containers", "images") for one in found[kind]]
        result["diff"] = {"before": "".join(f"{line}\n" for line in lines), "after": ""}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
