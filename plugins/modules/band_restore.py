#!/usr/bin/python
"""Inspect a backup, or restore it on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_restore
short_description: Check a backup and put its contents on this host
version_added: 0.1.0
description:
  - Opens an archive that M(rockstat.band.band_backup) made, compares every part with the manifest, and with
    O(apply=true) replaces Redis' data, the platform's folders and the volumes by what it holds.
  - The containers that use the volumes have to be gone then. Until all of it is in place, C(restore.unfinished) in
    O(home) names the archive, so that the platform is not started with half of it.
options:
  archive:
    description: The archive on this host.
    type: path
    required: true
  passphrase:
    description: What it was encrypted with.
    type: str
    default: ""
  apply:
    description: Put it in place; otherwise the archive is only looked into.
    type: bool
    default: false
  home:
    description: Folder of the platform on the host.
    type: path
    default: /srv/rockstat
  namespace:
    description: Namespace of the platform on this host.
    type: str
    default: rockstat
  helper_image:
    description: Image with tar, which is on the host, to write volumes with.
    type: str
    default: rockstat/rootfs:trixie
  redis_image:
    description:
      - Repository of Redis' image. The newest one on this host has to be able to load the archive's snapshot.
      - Empty, or without such an image, the snapshot is not tried.
    type: str
    default: ""
  redis_uid:
    description: User and group number of Redis in its container.
    type: int
    default: 10002
attributes:
  check_mode:
    support: full
    description: Opens and checks the archive, and changes nothing.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Look into a backup
  rockstat.band.band_restore:
    archive: /srv/rockstat/backups/rockstat-20261124T020000Z.tar.gz
"""

RETURN = r"""
manifest:
  description: What is in the archive.
  type: dict
  returned: always
"""

import io
import os
import tarfile
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils import archive
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import DockerError, run
from ansible_collections.rockstat.band.plugins.module_utils.manifest import ArchiveError, check_tree, extract
from ansible_collections.rockstat.band.plugins.module_utils.platform_data import Volume

UNFINISHED = "restore.unfinished"
BASE = "appendonly.aof.1.base.rdb"
INCREMENT = "appendonly.aof.1.incr.aof"
ANOTHER = "Take another one."
AOF_MANIFEST = f"file {BASE} seq 1 type b\nfile {INCREMENT} seq 1 type i\n"


class Restore:
    """An archive that was unpacked into a folder of its own."""

    def __init__(self, args: dict[str, Any], folder: str) -> None:
        self._args = args
        self._folder = folder

    def open(self) -> dict[str, Any]:
        """Decrypt, unpack and compare; return the manifest. Raises ArchiveError."""
        path = self._args["archive"]
        if not os.path.isfile(path):
            raise ArchiveError(f"There is no {path} on this host.")
        if archive.is_sealed(path):
            if not self._args["passphrase"]:
                raise ArchiveError(f"{path} is encrypted. Set its passphrase (band_backup_passphrase).")
            plain = os.path.join(self._folder, "plain.tar.gz")
            archive.unseal(path, plain, self._args["passphrase"])
            path = plain
        manifest = archive.unpack(path, self._content())
        self._check_parts()
        return manifest

    def _check_parts(self) -> None:
        """Check what is put in place later, when nothing runs any more; raises ArchiveError."""
        name = self._args["archive"]
        if not os.path.isfile(self._content("redis.rdb")):
            raise ArchiveError(f"{name} is not a complete backup of this platform (it has no redis.rdb). {ANOTHER}")
        try:
            for part in self._trees():
                check_tree(part)
        except tarfile.TarError as error:
            raise ArchiveError(f"{name} is not a complete backup of this platform ({error}). {ANOTHER}") from error

    def _trees(self) -> list[str]:
        return [self._content(name) for name in sorted(os.listdir(self._content())) if name.endswith(".tar")]

    def check_snapshot(self, manifest: dict[str, Any]) -> None:
        """Check that this host's Redis can read the snapshot; raises ArchiveError if it cannot."""
        images = run("image", "ls", "--quiet", "--filter", f"reference={self._args['redis_image']}").out.split()
        if not self._args["redis_image"] or not images:
            return
        script = "cat > /tmp/redis.rdb && exec redis-check-rdb /tmp/redis.rdb"
        limits = ["run", "--rm", "--interactive", "--network", "none", "--entrypoint", "sh"]
        with open(self._content("redis.rdb"), "rb") as snapshot:
            code, out, err = run(*limits, images[0], "-c", script, stdin=snapshot)
        if code:
            told = (out.partition("RDB ERROR DETECTED ---")[2] or out + err).strip().splitlines()
            raise ArchiveError(
                f"Redis on this host cannot load redis.rdb of {self._args['archive']}, which Redis "
                f"{manifest['redis']['version']} wrote: {told[0] if told else code}. Nothing was changed. "
                "Take another archive, or a host with this version of Redis or a later one."
            )

    def apply(self, manifest: dict[str, Any]) -> None:
        """Put everything in place; raises DockerError, OSError. Interrupted, it leaves a mark: see `UNFINISHED`."""
        mark = os.path.join(self._args["home"], UNFINISHED)
        os.makedirs(self._args["home"], mode=0o755, exist_ok=True)
        with open(mark, "w", encoding="utf-8") as file:
            file.write(f"{os.path.basename(self._args['archive'])}\n")
        for tree in self._trees():
            self._unpack_folder(tree)
        self._fill("redis-data", self._redis_tar(), "redis")
        for name in manifest["volumes"]:
            own = name.removeprefix(f"{manifest['namespace']}-")
            with open(self._content("volumes", f"{name}.tar"), "rb") as file:
                self._fill(own, file, own.rsplit("-", 1)[0])
        os.remove(mark)

    def _content(self, *names: str) -> str:
        return os.path.join(self._folder, "content", *names)

    def _unpack_folder(self, path: str) -> None:
        with tarfile.open(path) as tar:
            extract(tar, self._args["home"], as_packed=True)

    def _fill(self, volume: str, file: Any, service: str) -> None:
        namespace = self._args["namespace"]
        target = Volume(f"{namespace}-{volume}", self._args["helper_image"])
        target.create({"band.managed": "true", "band.namespace": namespace, "band.service": service})
        target.load(file)

    def _redis_tar(self) -> Any:
        """Make the snapshot the base of the append-only file: Redis reads nothing else."""
        path = os.path.join(self._folder, "redis.tar")
        with tarfile.open(path, "w") as tar:
            for name, size, mode, source in self._redis_files():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = size, mode
                entry.uid = entry.gid = self._args["redis_uid"]
                entry.type = tarfile.REGTYPE if source else tarfile.DIRTYPE
                tar.addfile(entry, source)
        return open(path, "rb")

    def _redis_files(self) -> list[tuple[str, int, int, Any]]:
        snapshot = self._content("redis.rdb")
        return [
            (".", 0, 0o700, None),
            ("appendonlydir", 0, 0o700, None),
            (f"appendonlydir/{BASE}", os.path.getsize(snapshot), 0o600, open(snapshot, "rb")),
            (f"appendonlydir/{INCREMENT}", 0, 0o600, io.BytesIO()),
            ("appendonlydir/appendonly.aof.manifest", len(AOF_MANIFEST), 0o600, io.BytesIO(AOF_MANIFEST.encode())),
        ]


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "archive": {"type": "path", "required": True},
            "passphrase": {"type": "str", "default": "", "no_log": True},
            "apply": {"type": "bool", "default": False},
            "home": {"type": "path", "default": "/srv/rockstat"},
            "namespace": {"type": "str", "default": "rockstat"},
            "helper_image": {"type": "str", "default": "rockstat/rootfs:trixie"},
            "redis_image": {"type": "str", "default": ""},
            "redis_uid": {"type": "int", "default": 10002},
        },
        supports_check_mode=True,
    )
    os.umask(0o077)
    with tempfile.TemporaryDirectory(prefix="rockstat-restore-") as folder:
        restore = Restore(module.params, folder)
        try:
            manifest = restore.open()
            restore.check_snapshot(manifest)
            if module.params["apply"] and not module.check_mode:
                restore.apply(manifest)
        except (ArchiveError, DockerError, OSError) as error:
            module.fail_json(msg=str(error))
    module.exit_json(changed=module.params["apply"], manifest=manifest)


if __name__ == "__main__":
    main()
