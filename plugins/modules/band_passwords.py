#!/usr/bin/python
"""Generate passwords in files on the host, once; only their hashes leave it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_passwords
short_description: Keep passwords in files on the host
version_added: 0.1.0
description:
  - Generates a password for each file that is missing or empty. A password that is there stays.
  - The files have the mode 0600. No password leaves the host; the module returns their SHA-256 hashes, in the form that
    users of Redis have.
options:
  folder:
    description: Folder of the files. It must exist, except in check mode.
    type: path
    required: true
  owners:
    description: Name of each file, and the uid (and gid) that owns it.
    type: dict
    required: true
  given:
    description: Passwords to use instead of generated ones, by the name of the file. A blank one is none.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Changes nothing. The hash of a password that would be generated is that of another one.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Keep the passwords of Redis
  rockstat.band.band_passwords:
    folder: /srv/rockstat/etc
    owners: {redis.password: 0}
  register: kept
"""

RETURN = r"""
hashes:
  description: SHA-256 of each password, in hexadecimal, by the name of its file.
  type: dict
  returned: always
written:
  description: Names of the files that were written, or would be.
  type: list
  elements: str
  returned: always
"""

import hashlib
import os
import secrets

from ansible.module_utils.basic import AnsibleModule

LENGTH = 40


def read(path: str) -> str:
    """Return the password in a file; empty without a file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def is_private(path: str, owner: int) -> bool:
    """Return whether only the owner can access a file."""
    found = os.stat(path)
    return (found.st_uid, found.st_gid, found.st_mode & 0o777) == (owner, owner, 0o600)


def write(path: str, word: str, owner: int) -> None:
    """Write a password so that nobody else can read it at any moment."""
    temporary = f"{path}.new"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        os.fchown(file.fileno(), owner, owner)
        file.write(f"{word}\n")
    os.replace(temporary, path)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "owners": {"type": "dict", "required": True},
            "given": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    hashes, written = {}, []
    for name, owner in module.params["owners"].items():
        path = os.path.join(module.params["folder"], name)
        now = read(path)
        word = module.params["given"].get(name) or now or secrets.token_hex(LENGTH // 2)
        if word != now or not is_private(path, int(owner)):
            written.append(name)
            if not module.check_mode:
                write(path, word, int(owner))
        hashes[name] = hashlib.sha256(word.encode()).hexdigest()
    module.exit_json(changed=bool(written), hashes=hashes, written=written)


if __name__ == "__main__":
    main()
