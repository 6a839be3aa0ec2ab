#!/usr/bin/python
"""Remove named containers, volumes, networks and images from a Docker engine."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_erase
short_description: Remove Docker objects by their names, and nothing else
version_added: 0.1.0
description:
  - Stops and removes containers in the order given, then volumes, networks and images.
  - Objects that no longer exist are skipped. An image that somebody else's image is built on is kept and reported.
options:
  containers:
    description: Names of containers; list the one that restarts others first.
    type: list
    elements: str
    default: []
  volumes:
    description: Names of volumes. Their data is lost.
    type: list
    elements: str
    default: []
  networks:
    description: Names of networks.
    type: list
    elements: str
    default: []
  images:
    description: Names or IDs of images; an image before those that it is built on. Its other names are kept.
    type: list
    elements: str
    default: []
  stop_timeout:
    description: Seconds in which a container may stop by itself.
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
  description: Images that were kept because another image is built on them.
  type: list
  elements: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import DockerError, run
from ansible_collections.rockstat.band.plugins.module_utils.watch import Watch

GONE = ("No such", "no such", "not found")
IN_USE = ("has dependent child images", "is being used by", "must be forced")


def complaint(*args: str) -> str:
    """Run the client; return its error, or an empty string if it succeeded or the object is gone."""
    code, _out, err = run(*args)
    return "" if not code or any(word in err for word in GONE) else err.strip()


def remove(*args: str) -> None:
    """Remove an object; raises DockerError."""
    if words := complaint(*args):
        raise DockerError(f"docker {' '.join(args)} failed: {words}")


def erase(module: AnsibleModule, found: dict[str, list[str]]) -> list[str]:
    """Remove everything that was found; return the images that could not be removed. Raises DockerError."""
    for name in found["containers"]:
        # Its unit would start it again.
        Watch(module, name).pause()
        complaint("stop", "--time", str(module.params["stop_timeout"]), name)
        remove("rm", "--force", "--volumes", name)
    for name in found["volumes"]:
        remove("volume", "rm", name)
    for name in found["networks"]:
        remove("network", "rm", name)
    kept = []
    for image in found["images"]:
        words = complaint("image", "rm", "--force", image)
        if words and not any(word in words for word in IN_USE):
            raise DockerError(f"docker image rm {image} failed: {words}")
        kept += [image] if words else []
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
    found = {kind: [name for name in module.params[kind] if not run(kind[:-1], "inspect", name).code] for kind in kinds}
    changed = any(found.values())
    try:
        kept = erase(module, found) if changed and not module.check_mode else []
    except DockerError as error:
        module.fail_json(msg=str(error))
    result: dict[str, Any] = {"changed": changed, "kept": kept}
    if module._diff and changed:
        lines = [f"{kind[:-1]}: {name}\n" for kind in kinds for name in found[kind] if name not in kept]
        result["diff"] = {"before": "".join(lines), "after": ""}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
