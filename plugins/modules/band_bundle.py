#!/usr/bin/python
"""Create a bundle with everything that a host without a network needs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_bundle
short_description: Collect images, Debian packages and databases of a host into one file
version_added: 0.1.0
description:
  - Takes the images that this host has, the Debian packages (with what they depend on) for a host of the same release,
    and the databases in volumes, adds what is already in O(work), and packs it with a manifest of hashes and a list
    of every package inside (SBOM, CycloneDX).
options:
  work:
    description: Folder to collect in; what it already contains goes into the bundle too.
    type: path
    required: true
  dest:
    description: The bundle.
    type: path
    required: true
  images:
    description: Images by name, all of them on this host.
    type: list
    elements: str
    required: true
  packages:
    description: Debian packages.
    type: list
    elements: str
    default: []
  volumes:
    description: Volumes whose contents to include.
    type: list
    elements: str
    default: []
  helper_image:
    description: Image with tar to read volumes with.
    type: str
    default: rockstat/rootfs:trixie
  facts:
    description: Additional facts for the manifest.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Says what would be collected.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Make a bundle
  rockstat.band.band_bundle:
    work: /var/tmp/bundle
    dest: /var/tmp/rockstat-bundle.tar
    images: [rockstat/band-base-py:latest]
    packages: [docker.io]
"""

RETURN = r"""
bytes:
  description: Size of the bundle.
  type: int
  returned: when it was made
sha256:
  description: SHA-256 of the bundle.
  type: str
  returned: when it was made
parts:
  description: Bytes of its parts.
  type: dict
  returned: when it was made
components:
  description: Number of packages in the list.
  type: int
  returned: when it was made
"""

import json
import os
import re
import shutil
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils import bundle
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import DockerError, docker
from ansible_collections.rockstat.band.plugins.module_utils.manifest import ArchiveError, pack, sha256_of
from ansible_collections.rockstat.band.plugins.module_utils.platform_data import Volume


class Bundle:
    """The bundle that a module call creates."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._args: dict[str, Any] = module.params
        self._components: list[dict[str, Any]] = []

    def make(self) -> dict[str, Any]:
        """Collect and pack; raises ArchiveError, DockerError, OSError."""
        work = self._args["work"]
        images = self._images(os.path.join(work, "images.tar.gz"))
        if self._args["packages"]:
            self._packages(os.path.join(work, "debs"))
        for name in self._args["volumes"]:
            self._volume(name, os.path.join(work, "volumes"))
        self._wheels(os.path.join(work, "wheels"))
        bundle.write_sbom(os.path.join(work, "sbom.json"), self._components)
        facts = {**self._args["facts"], "images": images, "volumes": self._args["volumes"]}
        manifest = pack(work, f"{self._args['dest']}.new", facts)
        os.replace(f"{self._args['dest']}.new", self._args["dest"])
        return {
            "bytes": os.path.getsize(self._args["dest"]),
            "sha256": sha256_of(self._args["dest"]),
            "parts": _parts(manifest["files"]),
            "components": len(self._components),
        }

    def _images(self, path: str) -> dict[str, list[str]]:
        """Save all images at once, so that shared layers are saved once; return ids with their names."""
        names = self._args["images"]
        inspected = {one["Id"]: one for one in json.loads(docker("image", "inspect", *names))}
        found = {identity: sorted(one["RepoTags"]) for identity, one in inspected.items()}
        for one in inspected.values():
            script = ["run", "--rm", "--network", "none", "--user", "0:0", "--entrypoint", "sh", one["Id"], "-c"]
            listing = docker(*script, bundle.INVENTORY)
            self._components += bundle.components_of(listing, one["RepoTags"][0])
        with tempfile.TemporaryFile(dir=self._args["work"]) as raw:
            docker("save", *sorted({tag for tags in found.values() for tag in tags}), stdout=raw)
            raw.seek(0)
            bundle.compress(raw, path)
        return found

    def _packages(self, folder: str) -> None:
        """Download packages and their dependencies beyond those of every Debian."""
        os.makedirs(os.path.join(folder, "partial"), exist_ok=True)
        empty = os.path.join(folder, "partial", "status")
        with open(empty, "w", encoding="utf-8"):
            pass
        self._run("apt-get", "update", "-qq")
        options = [
            "-o",
            f"Dir::Cache::archives={folder}",
            "-o",
            f"Dir::State::status={empty}",
            "-o",
            "Debug::NoLocking=1",
        ]
        closure = self._closure(options, self._args["packages"])
        wanted = sorted(closure - self._closure(options, sorted(self._required())))
        self._run("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *wanted, cwd=folder)
        shutil.rmtree(os.path.join(folder, "partial"))
        names = [name for name in os.listdir(folder) if name.endswith(".deb")]
        bundle.index_packages(folder, {name: self._run("dpkg-deb", "-f", os.path.join(folder, name)) for name in names})
        rows = bundle.packages_of(os.path.join(folder, "Packages"))
        self._components += [bundle.component("deb", *row, "debs") for row in rows]

    def _closure(self, options: list[str], names: list[str]) -> set[str]:
        """Return the packages and dependencies that a host without any would install."""
        simulated = self._run("apt-get", "install", "-s", "--no-install-recommends", *options, *names)
        return {line.split()[1].split(":")[0] for line in simulated.splitlines() if line.startswith("Inst ")}

    def _required(self) -> set[str]:
        """Return the packages that every Debian has."""
        shown = self._run("dpkg-query", "--show", "--showformat", "${Package} ${Essential} ${Priority}\n")
        rows = [line.split() for line in shown.splitlines()]
        return {row[0] for row in rows if len(row) == 3 and (row[1] == "yes" or row[2] == "required")}

    def _volume(self, name: str, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._args["work"]) as raw:
            Volume(name, self._args["helper_image"]).save(raw)
            raw.seek(0)
            bundle.compress(raw, os.path.join(folder, f"{name}.tar.gz"))

    def _wheels(self, folder: str) -> None:
        """List the existing wheels; name and version are in a wheel's file name."""
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            found = re.match(r"([^-]+)-([^-]+)-.*\.whl$", name)
            if found:
                one = bundle.component("pypi", found.group(1).replace("_", "-"), found.group(2), "any", "wheels")
                self._components.append(one)

    def _run(self, *command: str, cwd: str | None = None) -> str:
        environment = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        code, out, err = self._module.run_command(list(command), cwd=cwd, environ_update=environment)
        if code:
            words = "\n".join((out + err).strip().splitlines()[-10:])
            raise ArchiveError(f"{' '.join(command[:2])} failed ({code}). Check the host's package sources:\n{words}")
        return str(out)


def _parts(files: dict[str, Any]) -> dict[str, int]:
    parts: dict[str, int] = {}
    for name, row in files.items():
        part = name.split("/", 1)[0]
        parts[part] = parts.get(part, 0) + row["bytes"]
    return parts


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "work": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "images": {"type": "list", "elements": "str", "required": True},
            "packages": {"type": "list", "elements": "str", "default": []},
            "volumes": {"type": "list", "elements": "str", "default": []},
            "helper_image": {"type": "str", "default": "rockstat/rootfs:trixie"},
            "facts": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True)
    try:
        result = Bundle(module).make()
    except (ArchiveError, DockerError, OSError) as error:
        module.fail_json(msg=f"No bundle was made: {error}")
    module.exit_json(changed=True, **result)


if __name__ == "__main__":
    main()
