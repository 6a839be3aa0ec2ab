#!/usr/bin/python
"""Several files and folders in one call; secrets are generated on the host, once."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_files
short_description: Write several files and folders, and generate secrets where there are none
version_added: 0.1.0
description:
  - Makes folders and writes files with owner and mode, in one call where a module a file would take one each.
  - Can generate the contents of a file where it is blank, on the host itself, so that a secret crosses no wire.
  - A file may carry the SHA-256 of another one at a mark, so that a configuration can know a generated password
    without having it.
options:
  files:
    description: What should be there, in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path on the host.
        type: path
        required: true
      state:
        description: A folder, a file, or neither.
        type: str
        choices: [directory, file, absent]
        default: file
      content:
        description: The text of the file. Blank with O(files[].generate), what is there stays, or is generated.
        type: str
        default: ""
      generate:
        description: Letters and digits to generate where the file is not there and O(files[].content) is blank.
        type: int
        default: 0
      insert_sha256:
        description:
          - Marks in the text, each with the path of a file; the SHA-256 of its text, blanks around it left out,
            replaces it.
        type: dict
        default: {}
      mode:
        description: Its mode, as octal text.
        type: str
        required: true
      owner:
        description: Number of its owner.
        type: int
        default: 0
      group:
        description: Number of its group.
        type: int
        default: 0
      secret:
        description: Whether the text is kept out of diffs.
        type: bool
        default: false
attributes:
  check_mode:
    support: full
    description: Says which would be written.
  diff_mode:
    support: full
    description: Shows texts that are no secrets, and modes.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Keep a password, and a configuration that knows it
  rockstat.band.band_files:
    files:
      - {path: /srv/rockstat/etc, state: directory, mode: "0700"}
      - {path: /srv/rockstat/etc/redis.password, generate: 40, mode: "0600", secret: true}
      - path: /srv/rockstat/etc/redis.users.acl
        content: "user director on #%PASSWORD% ~* &* +@all\n"
        insert_sha256: {"%PASSWORD%": /srv/rockstat/etc/redis.password}
        mode: "0600"
        secret: true
"""

RETURN = r"""
written:
  description: Paths that were written or made, or would be in check mode.
  type: list
  elements: str
  returned: always
checksums:
  description: SHA-256 of each file by path; V(new) for a secret that check mode does not generate.
  type: dict
  returned: always
"""

import hashlib
import os
import secrets
import string
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule

LETTERS = string.ascii_letters + string.digits
NOT_YET = "new"


class Files:
    """The files that a module call speaks of."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._texts: dict[str, str | None] = {}
        self.written: list[str] = []
        self.checksums: dict[str, str] = {}
        self.diffs: list[dict[str, str]] = []

    def ensure(self, entry: dict[str, Any]) -> None:
        """Bring one entry to what it should be."""
        path = entry["path"]
        if entry["state"] == "absent":
            self._remove(path)
            return
        before = _described(path)
        if entry["state"] == "directory":
            after = _owned("directory", entry)
            if before != after and not self._module.check_mode:
                self._make(path)
        else:
            text = self._text(entry)
            self._texts[path] = text
            self.checksums[path] = _hash(text) if text is not None else NOT_YET
            old = _read(path)
            after = _owned("file", entry)
            if (old is None or old != text) and not self._module.check_mode:
                self._write(path, text or "")
            if old != text:
                before = f"{before}\n{'' if entry['secret'] else old or ''}"
                after = f"{after}\n{'(a secret, not shown)' if entry['secret'] else text or ''}"
        if before != after:
            self._note(path, before, after)
            if not self._module.check_mode:
                os.chown(path, entry["owner"], entry["group"])
                os.chmod(path, int(entry["mode"], 8))

    def _text(self, entry: dict[str, Any]) -> str | None:
        """What the file should say; None for a secret that is generated later."""
        text: str = entry["content"]
        if not text and entry["generate"]:
            kept = _read(entry["path"])
            if kept and kept.strip():
                return kept
            if self._module.check_mode:
                return None
            text = "".join(secrets.choice(LETTERS) for _letter in range(entry["generate"])) + "\n"
        for mark, source in entry["insert_sha256"].items():
            value = self._texts.get(source, _read(source))
            if value is None:
                return None
            text = text.replace(mark, _hash(value.strip()))
        return text

    def _note(self, path: str, before: str, after: str) -> None:
        self.written.append(path)
        self.diffs.append(
            {"before_header": path, "after_header": path, "before": _lines(before), "after": _lines(after)}
        )

    def _make(self, path: str) -> None:
        try:
            os.makedirs(path, mode=0o755, exist_ok=True)
        except FileExistsError:
            self._module.fail_json(msg=f"{path} has to be a folder, and a file stands there. Move it away.")

    def _write(self, path: str, text: str) -> None:
        """Through a file beside it, so that nobody reads half of it; it is root's alone until its mode is set."""
        self._make(os.path.dirname(path))
        handle, beside = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".band-")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        if os.path.isdir(path):
            os.unlink(beside)
            self._module.fail_json(msg=f"{path} has to be a file, and a folder stands there. Move it away.")
        os.replace(beside, path)

    def _remove(self, path: str) -> None:
        if not os.path.lexists(path):
            return
        self._note(path, _described(path), "absent")
        if not self._module.check_mode:
            os.unlink(path)


def _described(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return "absent"
    kind = "directory" if os.path.isdir(path) else "file"
    return f"{kind} {found.st_mode & 0o7777:04o} {found.st_uid}:{found.st_gid}"


def _owned(kind: str, entry: dict[str, Any]) -> str:
    return f"{kind} {int(entry['mode'], 8):04o} {entry['owner']}:{entry['group']}"


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _lines(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def main() -> None:
    """Entry point."""
    entry = {
        "path": {"type": "path", "required": True},
        "state": {"type": "str", "choices": ["directory", "file", "absent"], "default": "file"},
        "content": {"type": "str", "default": "", "no_log": False},
        "generate": {"type": "int", "default": 0},
        "insert_sha256": {"type": "dict", "default": {}},
        "mode": {"type": "str", "required": True},
        "owner": {"type": "int", "default": 0},
        "group": {"type": "int", "default": 0},
        "secret": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={"files": {"type": "list", "elements": "dict", "required": True, "options": entry}},
        supports_check_mode=True,
    )
    for listed in module.params["files"]:
        if listed["secret"] and listed["content"]:
            module.no_log_values.add(listed["content"].strip())
    files = Files(module)
    for listed in module.params["files"]:
        files.ensure(listed)
    result: dict[str, Any] = {"changed": bool(files.written), "written": files.written, "checksums": files.checksums}
    if module._diff:
        result["diff"] = files.diffs
    module.exit_json(**result)


if __name__ == "__main__":
    main()
