#!/usr/bin/python
"""Collect information for troubleshooting, without secrets."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_support
short_description: Collect versions, states, logs and settings of a host, without secrets
version_added: 0.1.0
description:
  - Writes one archive with what one asks for first when something does not work.
  - Every text goes through a filter that takes out the secrets that the host holds (files in C(etc), environments of
    our containers, C(secrets) of band.yml among them) by their values, and whatever looks like one. Without a
    O(token), the director is asked with the one in C(etc). Of a service's
    environment the names stay, and the values of a few harmless ones. Events and IP addresses are not collected.
options:
  dest:
    description: The archive to write, C(.tar.gz), readable by root only.
    type: path
    required: true
  home:
    description: Folder of the platform on the host.
    type: path
    default: /srv/rockstat
  namespace:
    description: Namespace of the labels.
    type: str
    default: rockstat
  settings:
    description: The settings of the inventory, to go with it.
    type: dict
    default: {}
  lines:
    description: Lines of each log.
    type: int
    default: 300
extends_documentation_fragment: [rockstat.band.director]
attributes:
  check_mode:
    support: full
    description: Writes nothing.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Collect what helps
  rockstat.band.band_support:
    dest: /root/rockstat-support.tar.gz
"""

RETURN = r"""
dest:
  description: The archive.
  type: str
  returned: always
names:
  description: What is in it.
  type: list
  elements: str
  returned: when it was written
"""

import io
import json
import os
import tarfile
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.director import Director, DirectorError, connection_spec
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import containers_of
from ansible_collections.rockstat.band.plugins.module_utils.redact import (
    Redactor,
    declared_secrets,
    secrets_in_environment,
    shown_environment,
    without_environments,
)

ANSWERS = ("health", "list", "list_images", "state", "registrations", "configs_list", "metrics")
COMMANDS = {
    "host/system.txt": "uname -a; cat /etc/os-release; uptime; date",
    "host/memory.txt": "free -m",
    "host/disk.txt": "df -h; docker system df",
    "host/ports.txt": "ss --listening --tcp --udp --numeric --processes",
    "host/docker.txt": "docker version; docker info",
    "host/networks.txt": "docker network ls; docker network inspect $(docker network ls -q -f label=band.managed=true)",
    "host/units.txt": "systemctl --no-pager status docker.service 'rockstat@*'",
    "host/docker.log": "journalctl --unit docker --lines {lines} --no-pager || tail -n {lines} /var/log/dockerd.log",
}


class Bundle:
    """The support archive."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._args: dict[str, Any] = module.params
        self._containers = containers_of(self._args["namespace"])
        self._redactor = Redactor(self._secrets())
        self._files: dict[str, str] = {}

    def collect(self) -> dict[str, str]:
        """Return every text of the archive by its name in it."""
        self._files["settings.json"] = self._json(without_environments(self._args["settings"]))
        self._files["containers.json"] = self._json([_shown(one) for one in self._containers])
        for name, command in COMMANDS.items():
            self._files[name] = self._run(command.format(lines=self._args["lines"]))
        for one in self._containers:
            name = one["Name"].lstrip("/")
            self._files[f"logs/{name}.log"] = self._run(f"docker logs --timestamps --tail {self._args['lines']} {name}")
        self._ask()
        return self._files

    def _ask(self) -> None:
        director = Director(self._args["url"], self._args["token"] or self._token_of_host())
        told = ""
        for name in ANSWERS:
            try:
                self._files[f"director/{name}.json"] = self._json(director.get(f"/{name}"))
            except DirectorError as error:
                told = self._redactor.text(str(error))
                self._files[f"director/{name}.error.txt"] = f"{told}\n"
        if told:
            self._module.warn(f"The bundle lacks states of the director (director/*.error.txt): {told}")

    def _token_of_host(self) -> str:
        """Return the token of the director on this host, which an inventory may not have; empty without one."""
        path = os.path.join(self._args["home"], "etc", "director.token")
        if not os.path.isfile(path):
            return ""
        with open(path, encoding="utf-8") as file:
            return file.read().strip()

    def _secrets(self) -> list[str]:
        """Return every secret of ours on this host, by value."""
        found = [self._args["token"]]
        for one in self._containers:
            config = one["Config"]
            found += secrets_in_environment(config.get("Env") or [], declared_secrets(config.get("Labels") or {}))
        etc = os.path.join(self._args["home"], "etc")
        for name in sorted(os.listdir(etc)) if os.path.isdir(etc) else []:
            if name.endswith((".password", ".token", ".secret", ".passphrase")):
                with open(os.path.join(etc, name), encoding="utf-8", errors="replace") as file:
                    found += file.read().splitlines()
        return found

    def _json(self, value: Any) -> str:
        shown = (
            self._redactor.text(value) if isinstance(value, str) else json.dumps(self._redactor.value(value), indent=1)
        )
        return f"{shown}\n"

    def _run(self, command: str) -> str:
        _code, out, err = self._module.run_command(["/bin/sh", "-c", f"{{ {command}; }} 2>&1"], errors="replace")
        return self._redactor.text(out + err)


def _shown(container: dict[str, Any]) -> dict[str, Any]:
    """Return what docker inspect shows of a container; for a service, without most of its environment."""
    config = container["Config"]
    labels = config.get("Labels") or {}
    if labels.get("band.kind") == "core":
        return container
    env = shown_environment(config.get("Env") or [], declared_secrets(labels))
    return {**container, "Config": {**config, "Env": env}}


def write(files: dict[str, str], dest: str) -> None:
    """Write the archive so that only root reads it."""
    handle = os.open(dest, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, text in sorted(files.items()):
            entry = tarfile.TarInfo(f"rockstat-support/{name}")
            content = text.encode("utf-8", "replace")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
            tar.addfile(entry, io.BytesIO(content))


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            **connection_spec(),
            "dest": {"type": "path", "required": True},
            "home": {"type": "path", "default": "/srv/rockstat"},
            "namespace": {"type": "str", "default": "rockstat"},
            "settings": {"type": "dict", "default": {}, "no_log": True},
            "lines": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    dest = module.params["dest"]
    if module.check_mode:
        module.exit_json(changed=True, dest=dest)
    files = Bundle(module).collect()
    write(files, dest)
    module.exit_json(changed=True, dest=dest, names=sorted(files))


if __name__ == "__main__":
    main()
