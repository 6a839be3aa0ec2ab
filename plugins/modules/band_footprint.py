#!/usr/bin/python
"""Everything of ours on a host, and whether anything else stands on the same Docker."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_footprint
short_description: List everything of the platform on a host
version_added: 0.1.0
description:
  - Lists containers, volumes, networks and images that carry the labels of a namespace, the files that are there,
    and the packages on record. Changes nothing.
  - Images without a namespace (base, Redis, director, rootfs) are listed unless another namespace lives on the same
    engine.
options:
  namespace:
    description: Namespace of the labels.
    type: str
    default: rockstat
  images:
    description: Repositories of images that are ours although they carry no label.
    type: list
    elements: str
    default: [rockstat/rootfs]
  paths:
    description: Files and folders on the host to look at.
    type: list
    elements: path
    default: []
  record:
    description: File with the packages that were installed, as M(rockstat.band.band_packages) writes it.
    type: path
    default: /srv/rockstat/etc/packages.json
attributes:
  check_mode:
    support: full
    description: Changes nothing.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Look for everything of ours
  rockstat.band.band_footprint:
    paths: [/srv/rockstat]
  register: ours
"""

RETURN = r"""
docker:
  description: Version of the engine; empty when none answers.
  type: str
  returned: always
containers:
  description:
    - Containers with name, service, kind, image, state, volumes, and C(contents), a hash of what the image is made of
      that is the same on every host (empty for images built before this label existed); the director first.
  type: list
  elements: dict
  returned: always
volumes:
  description: Names of volumes.
  type: list
  elements: str
  returned: always
networks:
  description: Names of networks.
  type: list
  elements: str
  returned: always
images:
  description: Images with id, tags and bytes; an image stands before the one that it is built on.
  type: list
  elements: dict
  returned: always
files:
  description: Those of O(paths) that are there, with their bytes.
  type: list
  elements: dict
  returned: always
packages:
  description: Packages that were installed by us.
  type: list
  elements: str
  returned: always
others:
  description: How many containers, volumes, networks and images on the same engine are not ours.
  type: dict
  returned: always
"""

import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import DockerError, inspect_all, version

BUILT_IN_NETWORKS = frozenset({"bridge", "host", "none"})
ORDER = {"director": 0, "redis": 2}


class Footprint:
    """The objects of one namespace among all."""

    def __init__(self, namespace: str, images: list[str]) -> None:
        self._namespace = namespace
        self._images = images
        self.others: dict[str, int] = {}

    def _is_ours(self, labels: dict[str, str] | None) -> bool:
        labels = labels or {}
        return labels.get("band.managed") == "true" and labels.get("band.namespace") == self._namespace

    def split(self, kind: str, objects: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Count those that are not ours, and return ours."""
        self.others[kind] = len(objects) - len(ours)
        return ours

    def containers(self, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Ours, in the order in which they are to be stopped: the director brings the others back."""
        made = [one for one in objects if self._is_ours(one["Config"]["Labels"]) and _made_by_us(one)]
        ours = self.split("containers", objects, made)
        return sorted((_container(one) for one in ours), key=lambda row: (ORDER.get(row["service"], 1), row["name"]))

    def volumes(self, objects: list[dict[str, Any]], containers: list[dict[str, Any]], services: set[str]) -> list[str]:
        """Return ours: by label, by a container of ours that mounts it, or, unlabelled, by a service in its name."""
        mounted = {name for row in containers for name in row["volumes"]}
        known = tuple(f"{self._namespace}-{name}-" for name in {*services, "redis"} if name)
        ours = [
            one
            for one in objects
            if self._is_ours(one.get("Labels"))
            or one["Name"] in mounted
            or (not one.get("Labels") and one["Name"].startswith(known))
        ]
        return sorted(one["Name"] for one in self.split("volumes", objects, ours))

    def networks(self, objects: list[dict[str, Any]]) -> list[str]:
        """Return ours, by label."""
        made = [one for one in objects if one["Name"] not in BUILT_IN_NETWORKS]
        ours = [one for one in made if self._is_ours(one.get("Labels"))]
        return sorted(one["Name"] for one in self.split("networks", made, ours))

    def images(self, objects: list[dict[str, Any]], *, shared: bool) -> list[dict[str, Any]]:
        """Return ours, by label or name; those of no namespace only where no other namespace stands on them.

        What somebody else built on an image of ours has its labels too, and is theirs.
        """
        ours = []
        parents = [one for one in objects if _band_labels(one) and not self._named(one)]
        for one in objects:
            labels = _band_labels(one)
            common = self._named(one) or (labels.get("band.managed") == "true" and "band.namespace" not in labels)
            if any(_inherited(one, parent) for parent in parents):
                continue
            if self._is_ours(labels) or (common and not shared):
                ours.append(one)
        self.split("images", objects, ours)
        rows = [{"id": one["Id"], "tags": sorted(one.get("RepoTags") or []), "bytes": one["Size"]} for one in ours]
        # What stands on another image is larger than it.
        return sorted(rows, key=lambda row: (-row["bytes"], row["id"]))

    def _named(self, image: dict[str, Any]) -> bool:
        return any(_repository(tag) in self._images for tag in image.get("RepoTags") or [])


def _container(one: dict[str, Any]) -> dict[str, Any]:
    labels = one["Config"]["Labels"]
    return {
        "name": one["Name"].lstrip("/"),
        "service": labels.get("band.service", ""),
        "kind": labels.get("band.kind", ""),
        "image": one["Config"]["Image"],
        "image_id": one["Image"],
        "contents": labels.get("band.contents", ""),
        "state": one["State"]["Status"],
        "volumes": sorted(mount["Name"] for mount in one.get("Mounts", []) if mount.get("Type") == "volume"),
    }


def _band_labels(one: dict[str, Any]) -> dict[str, str]:
    labels = (one.get("Config") or {}).get("Labels") or {}
    return {key: value for key, value in labels.items() if key.startswith("band.")}


def _made_by_us(container: dict[str, Any]) -> bool:
    """Whether we made a container; one that somebody runs from a service's image has the labels of the image only."""
    labels = _band_labels(container)
    return labels.get("band.kind") != "service" or "band.config" in labels


def _inherited(image: dict[str, Any], parent: dict[str, Any]) -> bool:
    """Whether an image only has the labels that the one it was built on brought along; our builds set their own."""
    layers, below = (((one.get("RootFS") or {}).get("Layers") or []) for one in (image, parent))
    stands_on = 0 < len(below) < len(layers) and layers[: len(below)] == below
    return stands_on and _band_labels(image) == _band_labels(parent)


def _service(one: dict[str, Any]) -> str:
    """Return the service that a container or an image of ours is of; nothing for others."""
    labels = _band_labels(one)
    return str(labels.get("band.service", "")) if labels.get("band.managed") == "true" else ""


def _repository(tag: str) -> str:
    return tag.rsplit(":", 1)[0]


def bytes_of(path: str) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    if not os.path.isdir(path) or os.path.islink(path):
        return os.lstat(path).st_size
    return sum(
        os.lstat(os.path.join(folder, name)).st_size for folder, _folders, names in os.walk(path) for name in names
    )


def packages_of(record: str) -> list[str]:
    """Return the packages on record."""
    try:
        with open(record, encoding="utf-8") as file:
            return sorted(json.load(file)["packages"])
    except FileNotFoundError:
        return []


def look(module: AnsibleModule) -> dict[str, Any]:
    """Return everything of ours, as this module does; raises DockerError."""
    args = module.params
    footprint = Footprint(args["namespace"], args["images"])
    result: dict[str, Any] = {
        "docker": version(),
        "containers": [],
        "volumes": [],
        "networks": [],
        "images": [],
        "files": [{"path": path, "bytes": bytes_of(path)} for path in args["paths"] if os.path.lexists(path)],
        "packages": packages_of(args["record"]),
    }
    if result["docker"]:
        containers = inspect_all("container", "--all", "--no-trunc")
        shared = any(
            labels.get("band.managed") == "true" and labels.get("band.namespace") != args["namespace"]
            for labels in (one["Config"]["Labels"] or {} for one in containers)
        )
        result["containers"] = footprint.containers(containers)
        images = inspect_all("image", "--no-trunc")
        services = {_service(one) for one in [*containers, *images]}
        result["volumes"] = footprint.volumes(inspect_all("volume"), result["containers"], services)
        result["networks"] = footprint.networks(inspect_all("network", "--no-trunc"))
        result["images"] = footprint.images(images, shared=shared)
    result["others"] = footprint.others
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "namespace": {"type": "str", "default": "rockstat"},
            "images": {"type": "list", "elements": "str", "default": ["rockstat/rootfs"]},
            "paths": {"type": "list", "elements": "path", "default": []},
            "record": {"type": "path", "default": "/srv/rockstat/etc/packages.json"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, **look(module))
    except DockerError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
