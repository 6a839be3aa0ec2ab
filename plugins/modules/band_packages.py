#!/usr/bin/python
"""Install Debian packages and keep a record of them, so that uninstalling removes these and no others."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_packages
short_description: Install Debian packages on record, and remove those on record
version_added: 0.1.0
description:
  - Installs packages that are missing, and writes down everything that came with them (dependencies too).
  - Removes what is in the record and nothing else. Packages that others now need are kept and reported.
  - Uses C(apt-get) itself, so the host needs no Python bindings to apt.
options:
  names:
    description: Packages that have to be there, with O(state=present).
    type: list
    elements: str
    default: []
  state:
    description: V(present) installs O(names); V(absent) removes what the record names.
    type: str
    choices: [present, absent]
    default: present
  keep:
    description: Packages of the record that stay all the same, with what they depend on; with O(state=absent).
    type: list
    elements: str
    default: []
  unless:
    description: Command, as a list of words, that succeeds where O(names) are not needed; with O(state=present).
    type: list
    elements: str
    default: []
  record:
    description: File of the record on the host.
    type: path
    default: /srv/rockstat/etc/packages.json
  repository:
    description: Folder with a flat Debian repository (C(Packages) and .deb files) to take them from instead of the
      host's sources, for a host without a network. Empty for the host's own sources.
    type: str
    default: ""
  timeout:
    description: Seconds that apt may wait for another apt, and that each of its steps may take.
    type: int
    default: 900
attributes:
  check_mode:
    support: full
    description: Says what would be installed or removed.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Install Docker
  rockstat.band.band_packages:
    names: [docker.io]

- name: Remove what was installed
  rockstat.band.band_packages:
    state: absent

- name: Remove what was installed but for Docker, on which something else lives
  rockstat.band.band_packages:
    state: absent
    keep: [docker.io, docker-cli]
"""

RETURN = r"""
installed:
  description: Packages that were, or would be, installed; in check mode without their dependencies.
  type: list
  elements: str
  returned: state is present
removed:
  description: Packages that were, or would be, removed.
  type: list
  elements: str
  returned: state is absent
kept:
  description: Packages of the record that stay, since something else needs them by now, or O(keep) does.
  type: list
  elements: str
  returned: state is absent
"""

import os
import tempfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils import record
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import progress_file

LISTS = "/var/lib/apt/lists"
LISTS_FRESH = 3600.0
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "APT_LISTCHANGES_FRONTEND": "none"}
LAST_LINES = 15


class Apt:
    """apt-get and dpkg of this host, or of a folder of packages."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._args: dict[str, Any] = module.params
        self._options: list[str] = []

    def installed(self) -> dict[str, str]:
        """Return names and versions of the packages that are installed."""
        _code, out, _err = self._module.run_command(
            ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package} ${Version}\n"]
        )
        rows = [line.split(" ", 2) for line in out.splitlines() if line.startswith("installed ")]
        return {row[1]: row[2] for row in rows}

    def install(self, names: list[str]) -> None:
        """Install packages; if they are not found, update the lists and try again."""
        if self._args["repository"]:
            self._use_repository(self._args["repository"])
        elif not _lists_are_fresh():
            self._run("update")
        command = ("install", "--yes", "--no-install-recommends", *names)
        if self._run(*command, check=False)[0]:
            self._run("update")
            self._run(*command)

    def removable(self, names: list[str], keep: list[str]) -> list[str]:
        """Return the packages that nothing else needs, nor `keep`: those that apt itself would remove."""
        ours = ["-o", "APT::AutoRemove::RecommendsImportant=false", "-o", "APT::AutoRemove::SuggestsImportant=false"]
        # A state file of our own, so that asking changes nothing.
        with tempfile.TemporaryDirectory() as folder:
            states = os.path.join(folder, "extended_states")
            architecture, free = self._architecture(), [name for name in names if name not in keep]
            rows = [f"Package: {name}\nArchitecture: {architecture}\nAuto-Installed: 1\n" for name in free]
            with open(states, "w", encoding="utf-8") as file:
                file.write(self._others_states(set(names)) + "\n".join(rows))
            ours += ["-o", f"Dir::State::extended_states={states}"]
            _code, out, _err = self._run("autoremove", "--simulate", *ours)
        left_over = {line.split()[1].split(":")[0] for line in out.splitlines() if line.startswith("Remv ")}
        return self._without_strangers(sorted(left_over & set(free)))

    def purge(self, names: list[str]) -> None:
        """Remove packages with their configuration."""
        self._run("purge", "--yes", *names)

    def _without_strangers(self, names: list[str]) -> list[str]:
        """Return the names, or none if removing them would also remove a package that is not on record."""
        if not names:
            return []
        _code, out, _err = self._run("purge", "--simulate", *names)
        gone = {line.split()[1].split(":")[0] for line in out.splitlines() if line.startswith(("Remv ", "Purg "))}
        return names if gone <= set(names) else []

    def _others_states(self, names: set[str]) -> str:
        try:
            with open("/var/lib/apt/extended_states", encoding="utf-8") as file:
                paragraphs = file.read().split("\n\n")
        except OSError:
            return ""
        kept = [text.strip() for text in paragraphs if text.strip() and _field(text, "Package") not in names]
        return "".join(f"{text}\n\n" for text in kept)

    def _architecture(self) -> str:
        return str(self._module.run_command(["dpkg", "--print-architecture"])[1].strip())

    def _use_repository(self, folder: str) -> None:
        """Use only a folder of packages; the host's own lists and sources stay as they are."""
        state = os.path.join(str(self._module.tmpdir), "lists")
        os.makedirs(os.path.join(state, "partial"), exist_ok=True)
        sources = os.path.join(str(self._module.tmpdir), "bundle.list")
        with open(sources, "w", encoding="utf-8") as file:
            file.write(f"deb [trusted=yes] file:{folder} ./\n")
        for key, value in {
            "Dir::Etc::sourcelist": sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": state,
            "APT::Sandbox::User": "root",
        }.items():
            self._options += ["-o", f"{key}={value}"]
        self._run("update")

    def _run(self, *args: str, check: bool = True) -> tuple[int, str, str]:
        limit = str(self._args["timeout"])
        command = ["timeout", limit, "apt-get", "-qq", "-o", f"DPkg::Lock::Timeout={limit}", *self._options, *args]
        with progress_file() as file:
            status = file.fileno()
            command[3:3] = ["-o", f"APT::Status-Fd={status}"]
            code, out, err = self._module.run_command(command, environ_update=ENVIRONMENT, pass_fds=[status])
        if code and check:
            words = "\n".join((out + err).strip().splitlines()[-LAST_LINES:])
            why = f"was not done within {limit} s" if code == 124 else f"failed ({code})"
            self._module.fail_json(
                msg=f"apt-get {' '.join(args)} {why}. Check the network and the host's package sources. "
                f"It said:\n{words}"
            )
        return code, out, err


def write_record(path: str, packages: dict[str, str]) -> None:
    """Replace the record of packages, or remove it when nothing is left."""
    if packages:
        folder = os.path.dirname(path)
        os.makedirs(os.path.dirname(folder), mode=0o755, exist_ok=True)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        record.write(path, "packages", packages)
    elif os.path.exists(path):
        os.unlink(path)


def _field(paragraph: str, name: str) -> str:
    return next((line.split(":", 1)[1].strip() for line in paragraph.splitlines() if line.startswith(f"{name}:")), "")


def _lists_are_fresh() -> bool:
    try:
        lists = [entry for entry in os.scandir(LISTS) if "_Packages" in entry.name]
        return any(time.time() - entry.stat().st_mtime < LISTS_FRESH for entry in lists)
    except OSError:
        return False


def ensure_present(module: AnsibleModule, apt: Apt) -> dict[str, Any]:
    """Install what is missing and record it, also if apt fails half-way."""
    before, path = apt.installed(), module.params["record"]
    missing = [name for name in module.params["names"] if name not in before]
    if not missing or module.check_mode:
        return {"changed": bool(missing), "installed": missing}
    new: dict[str, str] = {}
    try:
        apt.install(missing)
    finally:
        new = {name: version for name, version in apt.installed().items() if name not in before}
        if new:
            write_record(path, {**record.read(path, "packages"), **new})
    return {"changed": bool(new), "installed": sorted(new)}


def ensure_absent(module: AnsibleModule, apt: Apt) -> dict[str, Any]:
    """Remove the recorded packages that are still installed and that nothing else needs."""
    path = module.params["record"]
    packages = record.read(path, "packages")
    there = sorted(set(packages) & set(apt.installed()))
    removable = apt.removable(there, module.params["keep"]) if there else []
    kept = sorted(set(there) - set(removable))
    if removable and not module.check_mode:
        apt.purge(removable)
    if packages and not module.check_mode:
        write_record(path, {name: packages[name] for name in kept})
    return {"changed": bool(removable), "removed": removable, "kept": kept}


def _succeeds(module: AnsibleModule, command: list[str]) -> bool:
    try:
        return bool(command) and module.run_command(command, handle_exceptions=False)[0] == 0
    except OSError:
        return False


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "names": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "keep": {"type": "list", "elements": "str", "default": []},
            "unless": {"type": "list", "elements": "str", "default": []},
            "record": {"type": "path", "default": "/srv/rockstat/etc/packages.json"},
            "repository": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    needed = module.params["names"] and not _succeeds(module, module.params["unless"])
    if module.params["state"] == "present" and not needed:
        module.exit_json(changed=False, installed=[])
    if not module.get_bin_path("apt-get"):
        if module.params["state"] == "absent":
            module.exit_json(changed=False, removed=[], kept=[])
        names = " ".join(module.params["names"])
        module.fail_json(
            msg=f"This host has no apt-get. Install the equivalents of Debian's {names} with its own package manager."
        )
    ensure = ensure_present if module.params["state"] == "present" else ensure_absent
    module.exit_json(**ensure(module, Apt(module)))


if __name__ == "__main__":
    main()
