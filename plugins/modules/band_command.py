#!/usr/bin/python
"""Install the command band into a virtual environment of its own, with a launcher and completion."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_command
short_description: Install the band command on a host
version_added: 0.1.0
description:
  - Creates a virtual environment, installs the hashed requirements there and copies the command's sources into it.
  - Writes a launcher, the address of the director for it, and completion for bash and zsh.
  - Does nothing if the same sources, requirements and Python are already there, or if Python is older than 3.10.
options:
  state:
    description:
      - V(present) installs the command.
      - V(absent) removes the launcher and the completion that this module wrote; what others wrote under these names,
        folders and links stay. The environment goes with its folder.
    type: str
    choices: [present, absent]
    default: present
  source:
    description: Folder on the host with C(requirements.txt) and C(src/band_cli). Required with O(state=present).
    type: path
  home:
    description: Folder for the virtual environment and the configuration. Required with O(state=present).
    type: path
  launcher:
    description: Path of the executable. Its name is the command's.
    type: path
    default: /usr/local/bin/band
  completions:
    description: Completion files, by shell. Missing folders are created, and other people's files are kept.
    type: dict
    default: {}
  url:
    description: URL of the director, as seen from the host. Required with O(state=present).
    type: str
  token_file:
    description: File with the director's token, readable by root; empty for a director without one.
    type: str
    default: ""
  index:
    description: Python package index; empty for pip's own default.
    type: str
    default: ""
  ca_bundle:
    description: CA bundle for pip; ignored if it does not exist.
    type: str
    default: ""
  wheels:
    description: Folder with wheels to install from without a network; empty to use the index.
    type: str
    default: ""
  sources_changed:
    description: Whether the sources on the host are about to be replaced. Only check mode uses it.
    type: bool
    default: false
  timeout:
    description: Time limit for pip, in seconds.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Says whether anything would be installed or written.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Install the command band
  rockstat.band.band_command:
    source: /srv/rockstat/source/service_src/band_cli
    home: /srv/rockstat/cli
    launcher: /srv/rockstat/bin/band
    url: http://127.0.0.1:10000

- name: Remove the command band, if it is ours
  rockstat.band.band_command:
    state: absent
    launcher: /srv/rockstat/bin/band
"""

RETURN = r"""
installed:
  description: Whether the virtual environment was, or would be, created again.
  type: bool
  returned: always
written:
  description: Files that were, or would be, written.
  type: list
  elements: str
  returned: always
removed:
  description: Files that were, or would be, removed.
  type: list
  elements: str
  returned: state is absent
"""

import hashlib
import os
import shutil
import sys
from typing import Any

from ansible.module_utils.basic import AnsibleModule

MARK = "Installed by Rockstat Band (band_command)"
COMPILED = ("band_cli", "click", "rich")
"""What the command imports; its other requirements are compiled at first use."""
PYTHON = "/usr/bin/python3"
OLDEST_PYTHON = (3, 10)
LAST_LINES = 15


class Command:
    """The command as it should be on this host."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._args: dict[str, Any] = module.params
        self._venv = os.path.join(self._args["home"], "venv")
        self._stamp = os.path.join(self._venv, ".contents")
        self._python = PYTHON if os.path.exists(PYTHON) else sys.executable

    def contents(self) -> str:
        """Return the hash of what is to be installed; empty while the sources are missing."""
        names = ["requirements.txt"]
        for base, folders, files in os.walk(os.path.join(self._args["source"], "src")):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            names += [os.path.relpath(os.path.join(base, name), self._args["source"]) for name in sorted(files)]
        digest = hashlib.sha256(os.path.realpath(self._python).encode())
        for name in names:
            try:
                with open(os.path.join(self._args["source"], name), "rb") as file:
                    digest.update(name.encode() + b"\0" + hashlib.sha256(file.read()).digest())
            except FileNotFoundError:
                return ""
        return digest.hexdigest()

    def installed(self, contents: str) -> bool:
        """Return whether the environment has these contents, and works."""
        return bool(contents) and _read(self._stamp) == contents and os.path.exists(f"{self._venv}/bin/python")

    def too_old(self) -> str:
        """Return the version of Python if it is unsupported, else an empty string."""
        version = self._run(self._python, "-c", "import sys; print(*sys.version_info[:2])").split()
        return "" if tuple(map(int, version)) >= OLDEST_PYTHON else ".".join(version)

    def install(self, contents: str) -> None:
        """Build a new environment, then replace the old one by it."""
        new = f"{self._venv}.new"
        try:
            self._build(new, contents)
            self._replace(new)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _build(self, new: str, contents: str) -> None:
        """Create the environment beside the existing one, which works until this one is complete."""
        self._run(self._python, "-m", "venv", "--clear", new)
        python, requirements = f"{new}/bin/python", os.path.join(self._args["source"], "requirements.txt")
        options = [
            "--quiet",
            "--disable-pip-version-check",
            "--no-compile",
            "--require-hashes",
            "--only-binary",
            ":all:",
        ]
        self._run(python, "-m", "pip", "install", *options, "--requirement", requirements, environment=self._pip())
        site = self._run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        source = os.path.join(self._args["source"], "src", "band_cli")
        shutil.copytree(source, os.path.join(site, "band_cli"), ignore=shutil.ignore_patterns("__pycache__"))
        compiled = [path for name in COMPILED if os.path.isdir(path := os.path.join(site, name))]
        self._run(python, "-m", "compileall", "-q", "-s", new, "-p", self._venv, *compiled)
        with open(os.path.join(new, os.path.basename(self._stamp)), "w", encoding="utf-8") as file:
            file.write(contents)

    def _replace(self, new: str) -> None:
        old = f"{self._venv}.old"
        shutil.rmtree(old, ignore_errors=True)
        if os.path.exists(self._venv):
            os.rename(self._venv, old)
        os.rename(new, self._venv)
        shutil.rmtree(old, ignore_errors=True)

    def files(self) -> dict[str, tuple[str, int]]:
        """Return the launcher and its configuration: path → text and mode."""
        config = os.path.join(self._args["home"], "band.conf")
        token = f"token_file = {self._args['token_file']}\n" if self._args["token_file"] else ""
        launcher = (
            f"#!/bin/sh\n# {MARK}\nBAND_HOST_CONFIG='{config}' BAND_COMMAND=\"${{0##*/}}\" "
            f"exec '{self._venv}/bin/python' -I -m band_cli \"$@\"\n"
        )
        return {
            config: (f"# {MARK}\nhost = {self._args['url']}\n{token}", 0o644),
            self._args["launcher"]: (launcher, 0o755),
        }

    def completion(self, shell: str) -> str:
        """Return what a shell reads to complete the command's words."""
        words = self._run(self._args["launcher"], environment={"_BAND_COMPLETE": f"{shell}_source"})
        return f"{words}\n# {MARK}\n"

    def _pip(self) -> dict[str, str]:
        given = {"PIP_INDEX_URL": self._args["index"]} if self._args["index"] else {}
        if os.path.exists(self._args["ca_bundle"]):
            given["PIP_CERT"] = self._args["ca_bundle"]
        if self._args["wheels"]:
            given.update(PIP_NO_INDEX="1", PIP_FIND_LINKS=self._args["wheels"])
        return given

    def _run(self, *words: str, environment: dict[str, str] | None = None) -> str:
        limited = ["timeout", str(self._args["timeout"]), *words]
        code, out, err = self._module.run_command(limited, environ_update={"LC_ALL": "C.UTF-8", **(environment or {})})
        if code:
            said = "\n".join((out + err).strip().splitlines()[-LAST_LINES:])
            why = "took too long" if code == 124 else f"failed ({code})"
            self._module.fail_json(
                msg=f"{' '.join(words[:4])} {why}. The platform also works without the band command "
                "(band_cli_enabled: false). If it was pip: check the network, band_cli_package_index and "
                f"band_cli_ca_bundle. It said:\n{said}"
            )
        return str(out)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str, mode: int) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    os.replace(f"{path}.new", path)


def _is_ours(path: str) -> bool:
    """Return whether this module wrote the existing file."""
    return os.path.isfile(path) and not os.path.islink(path) and MARK in _read(path)


def _is_strangers(path: str) -> bool:
    return os.path.lexists(path) and not _is_ours(path)


def _remove(module: AnsibleModule) -> None:
    ours = [path for path in (module.params["launcher"], *module.params["completions"].values()) if _is_ours(path)]
    if not module.check_mode:
        for path in ours:
            os.unlink(path)
    module.exit_json(changed=bool(ours), installed=False, written=[], removed=ours)


def _refuse_strangers(module: AnsibleModule, path: str) -> None:
    """Fail if somebody else's program has the launcher's name."""
    if _is_strangers(path):
        module.fail_json(
            msg=f"{path} is somebody else's file, and was not changed. Move it, or set band_cli_launcher to another "
            "path, or band_cli_enabled to false."
        )


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "source": {"type": "path"},
            "home": {"type": "path"},
            "launcher": {"type": "path", "default": "/usr/local/bin/band"},
            "completions": {"type": "dict", "default": {}},
            "url": {"type": "str"},
            "token_file": {"type": "str", "default": "", "no_log": False},
            "index": {"type": "str", "default": ""},
            "ca_bundle": {"type": "str", "default": ""},
            "wheels": {"type": "str", "default": ""},
            "sources_changed": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
        },
        required_if=[("state", "present", ("source", "home", "url"))],
        supports_check_mode=True,
    )
    if module.params["state"] == "absent":
        _remove(module)
    os.umask(0o022)  # with the one of root's shell, nobody else could run it
    _refuse_strangers(module, module.params["launcher"])
    command = Command(module)
    contents = command.contents()
    if not contents and not module.check_mode:
        module.fail_json(msg=f"{module.params['source']} contains no sources; the role base_image puts them there")
    missing = not command.installed(contents) or (module.params["sources_changed"] and module.check_mode)
    if missing and (version := command.too_old()):
        module.warn(f"The band command was not installed: it needs Python 3.10 or later, and this host has {version}.")
        module.exit_json(changed=False, installed=False, written=[])
    stale = [path for path, (text, _mode) in command.files().items() if _read(path) != text]
    completions = [path for path in module.params["completions"].values() if not _is_strangers(path)]
    unfinished = [path for path in completions if missing or not os.path.exists(path)]
    if not module.check_mode:
        if missing:
            command.install(contents)
        for path in stale:
            _write(path, *command.files()[path])
        for shell, path in module.params["completions"].items():
            if path in unfinished:
                _write(path, command.completion(shell), 0o644)
    module.exit_json(changed=missing or bool(stale + unfinished), installed=missing, written=[*stale, *unfinished])


if __name__ == "__main__":
    main()
