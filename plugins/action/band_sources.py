"""Action of rockstat.band.band_sources: copies folders of the controller to the host if their contents differ."""

from __future__ import annotations

import base64
import hashlib
import os
import tarfile
import tempfile
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.rockstat.band.plugins.module_utils.tree import add_file, files_of

STAMP = ".contents"
# Every file of the host's with its hash, then those that can be executed.
LIST = (
    "cd {0} 2>/dev/null || exit 0; find . -type f -exec sha256sum {{}} +; find . -type f -perm -0100 -printf 'x %p\\n'"
)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return an entry without the controller's users and times."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry


class ActionModule(ActionBase):
    """One comparison of a hash in the usual case, one archive sent where it differs."""

    _VALID_ARGS = frozenset({"src", "folders", "dest"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Compare, and send and unpack when needed."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._task_vars = task_vars or {}
        src, dest = os.path.realpath(self._argument("src")), self._argument("dest").rstrip("/")
        files = self._files(src, self._task.args.get("folders") or [])
        wanted = self._hash(src, files)
        result.update(dest=dest, contents=wanted, files=len(files), changed_folders=[])
        result["changed"] = self._stamp(dest) != wanted
        if result["changed"]:
            result["changed_folders"] = self._changed_folders(src, files, dest)
            if not self._task.check_mode:
                self._send(src, files, dest, wanted)
        return result

    def _argument(self, name: str) -> str:
        value = self._task.args.get(name)
        if not value:
            raise AnsibleActionFail(
                f"band_sources needs {name}: src (on the controller), folders (in it), dest (a folder on the host)."
            )
        return str(value)

    def _files(self, src: str, folders: list[str]) -> list[str]:
        missing = [name for name in folders if not os.path.isdir(os.path.join(src, name))]
        if missing or not folders:
            raise AnsibleActionFail(
                f"band_sources finds no {', '.join(missing) or 'folders'} in {src}, and images are built from them. "
                "Run the playbook from a complete clone or an installed collection."
            )
        return [os.path.join(name, path) for name in folders for path in files_of(os.path.join(src, name))]

    def _hash(self, src: str, files: list[str]) -> str:
        digest = hashlib.sha256()
        for name in files:
            add_file(digest, name, os.path.join(src, name))
        return digest.hexdigest()

    def _changed_folders(self, src: str, files: list[str], dest: str) -> list[str]:
        """Return the folders in the folders with a file that differs here or there: images are made of them."""
        command = LIST.format(self._quote(dest))
        # Looking is what check mode is for.
        checks, self._task.check_mode = self._task.check_mode, False
        try:
            answer = self._module("ansible.legacy.command", _raw_params=command, _uses_shell=True)
        finally:
            self._task.check_mode = checks
        rows = [line.split(None, 1) for line in answer.get("stdout", "").splitlines()]
        there = {(word, name.removeprefix("./")) for word, name in rows if name != f"./{STAMP}"}
        here = set()
        for name in files:
            with open(os.path.join(src, name), "rb") as file:
                here.add((hashlib.sha256(file.read()).hexdigest(), name))
            if os.stat(os.path.join(src, name)).st_mode & 0o100:
                here.add(("x", name))
        return sorted({"/".join(name.split("/")[:2]) for _word, name in here ^ there})

    def _module(self, name: str, **args: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(module_name=name, module_args=args, task_vars=self._task_vars)
        return answer

    def _stamp(self, dest: str) -> str:
        answer = self._module("ansible.builtin.slurp", src=f"{dest}/{STAMP}")
        return "" if answer.get("failed") else base64.b64decode(answer["content"]).decode().strip()

    def _send(self, src: str, files: list[str], dest: str, stamp: str) -> None:
        """Unpack beside the old tree and swap, so that a broken connection leaves the old tree whole."""
        with tempfile.NamedTemporaryFile(suffix=".tar.gz") as archive:
            with tarfile.open(archive.name, "w:gz", compresslevel=6) as tar:
                for name in files:
                    tar.add(os.path.join(src, name), arcname=name, recursive=False, filter=_plain)
            remote = self._connection._shell.join_path(
                self._connection._shell.tmpdir or self._make_tmp_path(), "sources.tar.gz"
            )
            self._transfer_file(archive.name, remote)
        command = (
            "set -eu; rm -rf {0}.new; mkdir -p {0}.new; tar -xzf {1} -C {0}.new --no-same-owner; "
            "printf '%s\\n' {2} > {0}.new/{3}; "
            "rm -rf {0}; mv {0}.new {0}; rm -f {1}"
        ).format(self._quote(dest), self._quote(remote), stamp, STAMP)
        answer = self._module("ansible.legacy.command", _raw_params=command, _uses_shell=True)
        if answer.get("failed"):
            raise AnsibleActionFail(
                f"The sources could not be unpacked to {dest}: {answer.get('stderr') or answer.get('msg')}"
            )

    def _quote(self, text: str) -> str:
        return str(self._connection._shell.quote(text))
