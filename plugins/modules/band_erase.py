#!/usr/bin/python
"""Remove named containers, volumes, networks and images from a Docker engine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_erase
short_description: Remove Docker objects by their names, and nothing else
version_added: 0.1.0
description:
  - Stops and removes containers in the order given, then volumes, networks and images.
  - What is not there any more is done. An image that somebody else's image stands on stays, and is named.
options:
  containers:
    description: Names of containers; the one that brings others back comes first.
    type: list
    elements: str
    default: []
  volumes:
    description: Names of volumes. What they hold is lost.
    type: list
    elements: str
    default: []
  networks:
    description: Names of networks.
    type: list
    elements: str
    default: []
  images:
    description: Ids of images; one stands before those that it is built on.
    type: list
    elements: str
    default: []
  stop_timeout:
    description: Seconds that a container has to end by itself.
    type: int
    default: 30
attributes:
  check_mode:
    support: full
    description: Removes nothing.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Remove what is left of an experiment
  rockstat.band.band_erase:
    containers: [sxgeo]
    volumes: [rockstat-sxgeo-data]
"""

RETURN = r"""
kept:
  description: Images that another image, not to be removed, stands on.
  type: list
  elements: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.watch import Watch

GONE = ("No such", "no such", "not found")
IN_USE = ("has dependent child images", "is being used by", "must be forced")


class Engine:
    """The Docker client, for removing."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def there(self, kind: str, names: list[str]) -> list[str]:
        """Those of the names that this engine has; none where there is no client."""
        docker = self._module.get_bin_path("docker")
        return [name for name in names if docker and not self._module.run_command([docker, kind, "inspect", name])[0]]

    def docker(self, *args: str) -> str:
        """Run the client; what it complained about, nothing when all is well or the object is gone."""
        code, _out, err = self._module.run_command(["docker", *args])
        return "" if not code or any(word in err for word in GONE) else str(err.strip())

    def remove(self, *args: str) -> None:
        """Run the client, and fail with its words."""
        words = self.docker(*args)
        if words:
            self._module.fail_json(msg=f"docker {' '.join(args)} failed: {words}")


def erase(module: AnsibleModule, engine: Engine, found: dict[str, list[str]]) -> list[str]:
    """Remove everything that was found; the images that had to stay."""
    for name in found["containers"]:
        # Its unit would start it again.
        Watch(module, name).pause()
        engine.docker("stop", "--time", str(module.params["stop_timeout"]), name)
        engine.remove("rm", "--force", "--volumes", name)
    for name in found["volumes"]:
        engine.remove("volume", "rm", name)
    for name in found["networks"]:
        engine.remove("network", "rm", name)
    kept = []
    for image in found["images"]:
        words = engine.docker("image", "rm", "--force", image)
        if words and any(word in words for word in IN_USE):
            kept.append(image)
        elif words:
            module.fail_json(msg=f"docker image rm {image} failed: {words}")
    return kept


def main() -> None:
    """Entry point."""
    kinds = ("containers", "volumes", "networks", "images")
    module = AnsibleModule(
        argument_spec={
            **{kind: {"type": "list", "elements": "str", "default": []} for kind in kinds},
            "stop_timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    engine = Engine(module)
    found = {kind: engine.there(kind[:-1], module.params[kind]) for kind in kinds}
    changed = any(found.values())
    kept = erase(module, engine, found) if changed and not module.check_mode else []
    result: dict[str, Any] = {"changed": changed, "kept": kept}
    if module._diff and changed:
        lines = [f"{kind[:-1]}: {name}\n" for kind in kinds for name in found[kind] if name not in kept]
        result["diff"] = {"before": "".join(lines), "after": ""}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
