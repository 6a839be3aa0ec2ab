#!/usr/bin/python
"""List everything of ours on a host, and whether anything else uses the same Docker."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_footprint
short_description: List everything of the platform on a host
version_added: 0.1.0
description:
  - Lists containers, volumes, networks and images that carry the labels of a namespace, the files that are there,
    and the packages on record. Changes nothing.
  - Images without a namespace (base, Redis, director, rootfs) are ours by the names of O(images); one without any name
    only where no other namespace lives on the same engine.
options:
  namespace:
    description: Namespace of the labels.
    type: str
    default: rockstat
  images:
    description: Repositories, or full names, of images that are ours although they carry no namespace.
    type: list
    elements: str
    default: [rockstat/rootfs, rockstat/band-base-py, rockstat/redis, rockstat/director, "rst/band:latest"]
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
- name: List everything of the platform
  rockstat.band.band_footprint:
    paths: [/srv/rockstat]
  register: ours
"""

RETURN = r"""
docker:
  description: Version of the engine; empty if none answers.
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
  description:
    - Images with id, tags that are ours, bytes, and C(in_use), whether a container that is not ours would lose it, or
      what it is built on; an image comes before the one that it is built on.
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

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils import record
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import DockerError, inspect_all, version
from ansible_collections.rockstat.band.plugins.module_utils.platform_data import VOLUME_LABEL

# What the roles build under their default names, and the name of the original's image.
IMAGES = ("rockstat/rootfs", "rockstat/band-base-py", "rockstat/redis", "rockstat/director", "rst/band:latest")
BUILT_IN_NETWORKS = frozenset({"bridge", "host", "none"})
ORDER = {"director": 0, "redis": 2}


class Footprint:
    """Tells the objects of one namespace from all others."""

    def __init__(self, namespace: str, images: list[str]) -> None:
        self._namespace = namespace
        self._images = set(images)
        self.others: dict[str, int] = {}

    def _is_ours(self, labels: dict[str, str] | None) -> bool:
        labels = labels or {}
        return labels.get("band.managed") == "true" and labels.get("band.namespace") == self._namespace

    def _is_helper(self, labels: dict[str, str] | None) -> bool:
        """Return whether a container is one that a backup or a restore left when it was killed."""
        return (labels or {}).get(VOLUME_LABEL, "").startswith(f"{self._namespace}-")

    def split(self, kind: str, objects: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Count those that are not ours, and return ours."""
        self.others[kind] = len(objects) - len(ours)
        return ours

    def containers(self, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return ours in the order in which to stop them: the director would restart the others."""
        made = [
            one
            for one in objects
            if (self._is_ours(one["Config"]["Labels"]) and _made_by_us(one)) or self._is_helper(one["Config"]["Labels"])
        ]
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

    def images(self, objects: list[dict[str, Any]], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return ours, by label or name, and whether `others`, the containers that are not ours, need them.

        What somebody else built on an image of ours has its labels too, and is theirs.
        """
        used = [one for one in objects if one["Id"] in {container["Image"] for container in others}]
        parents = [one for one in objects if _band_labels(one)]
        alone = not any(self._is_anothers(_band_labels(one)) for one in others)
        ours = [one for one in objects if self._named(one) or self._labelled(one, parents, alone=alone)]
        rows = [self._image(one, used) for one in self.split("images", objects, ours)]
        # What stands on another image is larger than it.
        return sorted(rows, key=lambda row: (-row["bytes"], row["id"]))

    def _is_anothers(self, labels: dict[str, str]) -> bool:
        return labels.get("band.managed") == "true" and labels.get("band.namespace") != self._namespace

    def _named(self, image: dict[str, Any]) -> list[str]:
        """Return those names of an image without a namespace that our settings give."""
        tags = [] if "band.namespace" in _band_labels(image) else image.get("RepoTags") or []
        return [tag for tag in tags if {tag, tag.rsplit(":", 1)[0]} & self._images]

    def _labelled(self, image: dict[str, Any], parents: list[dict[str, Any]], *, alone: bool) -> bool:
        """Return whether an image is ours by its labels; without a name and namespace only if we are `alone`."""
        labels = _band_labels(image)
        left = labels.get("band.managed") == "true" and "band.namespace" not in labels and not image.get("RepoTags")
        ours = self._is_ours(labels) or (left and alone)
        return ours and not any(_inherited(image, parent) for parent in parents)

    def _image(self, one: dict[str, Any], used: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the row of an image; one with somebody else's name loses only ours."""
        every = one.get("RepoTags") or []
        tags = self._named(one) or every
        in_use = len(tags) == len(every) and any(one["Id"] == other["Id"] or _stands_on(other, one) for other in used)
        return {"id": one["Id"], "tags": sorted(tags), "bytes": one["Size"], "in_use": in_use}


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
    """Return whether we created a container; one run by hand from its image has only the image's labels."""
    labels = _band_labels(container)
    return labels.get("band.kind") != "service" or "band.config" in labels


def _stands_on(image: dict[str, Any], parent: dict[str, Any]) -> bool:
    """Return whether an image begins with all layers of another and has more."""
    layers, below = (((one.get("RootFS") or {}).get("Layers") or []) for one in (image, parent))
    return 0 < len(below) < len(layers) and layers[: len(below)] == below


def _inherited(image: dict[str, Any], parent: dict[str, Any]) -> bool:
    """Return whether an image only has the labels of its base image; our builds set their own."""
    return _stands_on(image, parent) and _band_labels(image) == _band_labels(parent)


def _service(one: dict[str, Any]) -> str:
    """Return the service of a container or image of ours; empty for others."""
    labels = _band_labels(one)
    return str(labels.get("band.service", "")) if labels.get("band.managed") == "true" else ""


def bytes_of(path: str) -> int:
    """Return the bytes of a file, or of all files below a folder."""
    if not os.path.isdir(path) or os.path.islink(path):
        return os.lstat(path).st_size
    return sum(
        os.lstat(os.path.join(folder, name)).st_size for folder, _folders, names in os.walk(path) for name in names
    )


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
        "packages": sorted(record.read(args["record"], "packages")),
    }
    if result["docker"]:
        containers = inspect_all("container", "--all", "--no-trunc")
        result["containers"] = footprint.containers(containers)
        ours = {row["name"] for row in result["containers"]}
        others = [one for one in containers if one["Name"].lstrip("/") not in ours]
        images = inspect_all("image", "--no-trunc")
        services = {_service(one) for one in [*containers, *images]}
        result["volumes"] = footprint.volumes(inspect_all("volume"), result["containers"], services)
        result["networks"] = footprint.networks(inspect_all("network", "--no-trunc"))
        result["images"] = footprint.images(images, others)
    result["others"] = footprint.others
    return result


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "namespace": {"type": "str", "default": "rockstat"},
            "images": {"type": "list", "elements": "str", "default": list(IMAGES)},
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
