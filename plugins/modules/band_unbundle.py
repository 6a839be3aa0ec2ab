#!/usr/bin/python
"""Use a bundle on a host without a network: unpack it, and load its images and databases."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_unbundle
short_description: Unpack a bundle, and load its images and databases into Docker
version_added: 0.1.0
description:
  - With O(state=unpacked) unpacks a bundle that M(rockstat.band.band_bundle) made, and compares every file with the
    manifest before it takes the place of the one before.
  - With O(state=loaded) loads the images that are missing, and fills volumes that are not there yet.
options:
  state:
    description: How far.
    type: str
    choices: [unpacked, loaded]
    required: true
  archive:
    description: The bundle on this host, with O(state=unpacked). It is removed when it was unpacked.
    type: path
  sha256:
    description: Its SHA-256, which says whether it was unpacked already.
    type: str
    default: ""
  dest:
    description: Folder of the unpacked bundle.
    type: path
    required: true
  namespace:
    description: Namespace of the volumes on this host.
    type: str
    default: rockstat
  helper_image:
    description: Image with tar, from the bundle, to write volumes with.
    type: str
    default: rockstat/rootfs:trixie
attributes:
  check_mode:
    support: full
    description: Says what would be done.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Load what the bundle holds
  rockstat.band.band_unbundle:
    state: loaded
    dest: /srv/rockstat/bundle
"""

RETURN = r"""
manifest:
  description: What is in the bundle, without its files; empty in check mode before it was unpacked.
  type: dict
  returned: always
loaded:
  description: Images and volumes that were, or would be, loaded.
  type: list
  elements: str
  returned: state is loaded
"""

import gzip
import os
import shutil
import tarfile
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import DockerError, docker, inspect
from ansible_collections.rockstat.band.plugins.module_utils.manifest import CHUNK, ArchiveError, check, extract, read
from ansible_collections.rockstat.band.plugins.module_utils.platform_data import Volume

STAMP = ".sha256"


def stamp_of(folder: str) -> str:
    """Return the SHA-256 of the bundle that is unpacked in a folder; empty if there is none."""
    try:
        with open(os.path.join(folder, STAMP), encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def unpack(archive: str, folder: str, digest: str) -> None:
    """Unpack beside the old one, compare, swap; raises ArchiveError, OSError."""
    fresh = f"{folder}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    os.makedirs(fresh, mode=0o755)
    with tarfile.open(archive, "r:") as tar:
        extract(tar, fresh)
    check(fresh, "The bundle", "Copy it again.")
    with open(os.path.join(fresh, STAMP), "w", encoding="utf-8") as file:
        file.write(digest)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(fresh, folder)


def manifest_of(folder: str) -> dict[str, Any]:
    """Return the manifest without the files, which were compared when it was unpacked; empty if there is none."""
    try:
        return {key: value for key, value in read(folder).items() if key != "files"}
    except OSError:
        return {}


def load_images(folder: str, images: dict[str, list[str]]) -> None:
    """Load all images, which share their layers; raises ArchiveError if the engine's ids differ."""
    with open(os.path.join(folder, "images.tar.gz"), "rb") as file:
        docker("load", stdin=file)
    strange = [tags[0] for identity, tags in images.items() if not inspect("image", identity)]
    if strange:
        raise ArchiveError(
            f"{', '.join(strange)} have other IDs in this Docker than in the one that made the bundle: "
            "their image stores differ. Make the bundle on a host whose Docker keeps images the same way (docker info)."
        )


def load_volume(folder: str, name: str, args: dict[str, Any]) -> None:
    """Create and fill a volume."""
    with tempfile.TemporaryFile() as plain, gzip.open(os.path.join(folder, "volumes", f"{name}.tar.gz")) as packed:
        shutil.copyfileobj(packed, plain, CHUNK)
        plain.seek(0)
        own = name.split("-", 1)[1]
        volume = Volume(f"{args['namespace']}-{own}", args["helper_image"])
        labels = {"band.managed": "true", "band.namespace": args["namespace"], "band.service": own.rsplit("-", 1)[0]}
        volume.create(labels)
        volume.load(plain)


def load(module: AnsibleModule) -> dict[str, Any]:
    """Load what is missing; raises ArchiveError, DockerError."""
    args, folder = module.params, module.params["dest"]
    manifest = manifest_of(folder)
    images = manifest.get("images", {})
    missing = [tags[0] for identity, tags in images.items() if not inspect("image", identity)]
    volumes = [
        name
        for name in manifest.get("volumes", [])
        if not inspect("volume", f"{args['namespace']}-{name.split('-', 1)[1]}")
    ]
    if not module.check_mode:
        if missing:
            load_images(folder, images)
        for name in volumes:
            load_volume(folder, name, args)
    return {"changed": bool(missing or volumes), "loaded": [*missing, *volumes], "manifest": manifest}


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["unpacked", "loaded"], "required": True},
            "archive": {"type": "path"},
            "sha256": {"type": "str", "default": ""},
            "dest": {"type": "path", "required": True},
            "namespace": {"type": "str", "default": "rockstat"},
            "helper_image": {"type": "str", "default": "rockstat/rootfs:trixie"},
        },
        required_if=[("state", "unpacked", ("archive", "sha256"))],
        supports_check_mode=True,
    )
    os.umask(0o022)
    args = module.params
    try:
        if args["state"] == "loaded":
            module.exit_json(**load(module))
        changed = stamp_of(args["dest"]) != args["sha256"]
        if changed and not module.check_mode:
            unpack(args["archive"], args["dest"], args["sha256"])
            os.unlink(args["archive"])
        module.exit_json(changed=changed, manifest=manifest_of(args["dest"]))
    except (ArchiveError, DockerError, OSError, tarfile.TarError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
