#!/usr/bin/python
"""Back up everything that cannot be recreated, while the platform keeps running."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_backup
short_description: Back up Redis, secrets, settings, image folders and volumes into one archive
version_added: 0.1.0
description:
  - Takes a snapshot of the running Redis (events, dead letters, the director's and the services' settings), the folders
    C(etc) and C(images) of the platform, and the services' volumes, into one archive that only root can read.
  - The archive has a manifest with the SHA-256 of every part and the versions.
options:
  home:
    description: Folder of the platform on the host.
    type: path
    default: /srv/rockstat
  namespace:
    description: Namespace of the platform.
    type: str
    default: rockstat
  dest:
    description: Folder for the archives.
    type: path
    required: true
  redis:
    description: Name of Redis' container.
    type: str
    default: redis
  folders:
    description: Folders of O(home) to take.
    type: list
    elements: str
    default: [etc, images]
  without:
    description: Files of O(folders) to leave out, because they describe this host.
    type: list
    elements: str
    default: [etc/packages.json]
  volumes:
    description: Volumes to take.
    type: list
    elements: str
    default: []
  helper_image:
    description: Image with tar that is on the host, to read volumes with.
    type: str
    default: rockstat/rootfs:trixie
  facts:
    description: Additional facts for the manifest, such as versions.
    type: dict
    default: {}
  passphrase:
    description: Passphrase to encrypt the archive with; empty for an unencrypted one.
    type: str
    default: ""
  keep:
    description: How many archives to keep in O(dest), this one included; 0 for all.
    type: int
    default: 7
  timeout:
    description: Time limit for Redis' snapshot, in seconds.
    type: int
    default: 600
attributes:
  check_mode:
    support: full
    description: Says where the archive would go.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Back up
  rockstat.band.band_backup:
    dest: /srv/rockstat/backups
    volumes: [rockstat-mmgeo-data]
    passphrase: "{{ vault_backup_passphrase }}"
"""

RETURN = r"""
archive:
  description: Path of the archive.
  type: str
  returned: always
bytes:
  description: Its size.
  type: int
  returned: when one was made
sha256:
  description: Its SHA-256.
  type: str
  returned: when one was made
manifest:
  description: What is in it.
  type: dict
  returned: when one was made
removed:
  description: Older archives that were removed.
  type: list
  elements: str
  returned: always
"""

import os
import re
import socket
import tarfile
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils import archive
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import DockerError
from ansible_collections.rockstat.band.plugins.module_utils.manifest import ArchiveError, sha256_of
from ansible_collections.rockstat.band.plugins.module_utils.platform_data import Redis, Volume


class Backup:
    """The backup that a module call creates."""

    def __init__(self, args: dict[str, Any]) -> None:
        self._args = args
        self._redis = Redis(args["redis"])
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        ending = ".tar.gz.enc" if args["passphrase"] else ".tar.gz"
        self.path = os.path.join(args["dest"], f"{args['namespace']}-{moment}{ending}")

    def make(self) -> dict[str, Any]:
        """Collect, pack and seal; raises DockerError, ArchiveError, OSError, and then leaves nothing behind."""
        os.makedirs(self._args["dest"], mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=self._args["dest"]) as work:
            content = os.path.join(work, "content")
            os.mkdir(content)
            facts = self._collect(content)
            packed = os.path.join(work, "packed.tar.gz")
            manifest = archive.pack(content, packed, facts)
            ready = packed
            if self._args["passphrase"]:
                ready = os.path.join(work, "packed.enc")
                archive.seal(packed, ready, self._args["passphrase"])
            os.chmod(ready, 0o600)
            os.replace(ready, self.path)
        size, digest = os.path.getsize(self.path), sha256_of(self.path)
        return {"archive": self.path, "bytes": size, "sha256": digest, "manifest": manifest}

    def _collect(self, folder: str) -> dict[str, Any]:
        with open(os.path.join(folder, "redis.rdb"), "wb") as file:
            self._redis.snapshot(file, float(self._args["timeout"]))
        keys = self._redis.ask("DBSIZE").split()[-1]
        for name in self._args["folders"]:
            self._folder(name, os.path.join(folder, f"{name}.tar"))
        os.mkdir(os.path.join(folder, "volumes"))
        for name in self._args["volumes"]:
            with open(os.path.join(folder, "volumes", f"{name}.tar"), "wb") as file:
                Volume(name, self._args["helper_image"]).save(file)
        return {
            **self._args["facts"],
            "namespace": self._args["namespace"],
            "host": socket.gethostname(),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "redis": {"version": self._redis.info("server")["redis_version"], "keys": int(keys)},
            "volumes": self._args["volumes"],
        }

    def _folder(self, name: str, target: str) -> None:
        source = os.path.join(self._args["home"], name)
        with tarfile.open(target, "w") as tar:
            if os.path.isdir(source):
                tar.add(source, arcname=name, filter=self._wanted)

    def _wanted(self, entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if entry.name in self._args["without"] else entry

    def superfluous(self, *, made: bool) -> list[str]:
        """Return the archives beyond the number to keep, oldest first; `made`: they include the new one."""
        keep = self._args["keep"]
        # The whole form: the namespace may be the beginning of another one, or of a name that somebody gave.
        form = re.compile(re.escape(self._args["namespace"]) + r"-[0-9]{8}T[0-9]{6}Z\.tar\.gz(\.enc)?")
        if not keep or not os.path.isdir(self._args["dest"]):
            return []
        names = [n for n in os.listdir(self._args["dest"]) if form.fullmatch(n)]
        found = sorted(os.path.join(self._args["dest"], name) for name in names)
        return found[: max(0, len(found) + (0 if made else 1) - keep)]


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "home": {"type": "path", "default": "/srv/rockstat"},
            "namespace": {"type": "str", "default": "rockstat"},
            "dest": {"type": "path", "required": True},
            "redis": {"type": "str", "default": "redis"},
            "folders": {"type": "list", "elements": "str", "default": ["etc", "images"]},
            "without": {"type": "list", "elements": "str", "default": ["etc/packages.json"]},
            "volumes": {"type": "list", "elements": "str", "default": []},
            "helper_image": {"type": "str", "default": "rockstat/rootfs:trixie"},
            "facts": {"type": "dict", "default": {}},
            "passphrase": {"type": "str", "default": "", "no_log": True},
            "keep": {"type": "int", "default": 7},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    os.umask(0o077)
    backup = Backup(module.params)
    if module.check_mode:
        module.exit_json(changed=True, archive=backup.path, removed=backup.superfluous(made=False))
    try:
        result = backup.make()
    except (DockerError, ArchiveError, OSError) as error:
        module.fail_json(msg=f"No backup was made, nothing was left behind: {error}")
    removed = backup.superfluous(made=True)
    for path in removed:
        os.unlink(path)
    module.exit_json(changed=True, removed=removed, **result)


if __name__ == "__main__":
    main()
