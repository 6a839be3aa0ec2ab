#!/usr/bin/python
"""List the platform's ports that other machines can reach, without regard to a firewall."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_exposure
short_description: Report which ports of the platform can be reached from outside
version_added: 0.1.0
description:
  - Lists what the namespace's containers publish on addresses other than loopback.
  - Docker publishes ports by rules of its own, before those of UFW, firewalld or nftables' input chains are asked. So a
    port that is published beyond loopback is open, even where the firewall says that it is not; this module says so.
  - What the proxy (role C(proxy), nginx on the host itself) listens on is listed too. It was asked for, so it is never
    unexpected, and the host's firewall holds for it.
options:
  namespace:
    description: Namespace of the labels.
    type: str
    default: rockstat
  intended:
    description: Host ports that are meant to be reachable from outside.
    type: list
    elements: int
    default: []
  proxy:
    description: The proxy's configuration, whose C(listen) lines say on which ports it is; it need not be there.
    type: path
    default: /etc/nginx/conf.d/rockstat.conf
attributes:
  check_mode:
    support: full
    description: Reads only.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: List the ports reachable from outside
  rockstat.band.band_exposure:
    intended: [10000]
"""

RETURN = r"""
open:
  description: Ports that other machines can reach, with C(container) (V(nginx) for the proxy), C(address), C(port).
  type: list
  elements: dict
  returned: always
unexpected:
  description: Those of C(open) that are not intended.
  type: list
  elements: dict
  returned: always
firewalls:
  description: Firewalls that are active on this host, and that Docker's rules go around.
  type: list
  elements: str
  returned: always
"""

import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import containers_of

LOOPBACK = ("127.", "::1")
# /proc/net/tcp writes addresses in hexadecimal, the bytes of each word backwards; 0A is LISTEN.
LOOPBACK_WORDS = re.compile(r"^([0-9A-F]{6}7F|0{24}01000000|0{16}FFFF0000[0-9A-F]{6}7F)$")
LISTENING = "0A"
SOCKETS = ("/proc/net/tcp", "/proc/net/tcp6")
FIREWALLS = {
    "ufw": (["ufw", "status"], "Status: active"),
    "firewalld": (["firewall-cmd", "--state"], "running"),
    "nftables": (["nft", "list", "ruleset"], "hook input"),
}


def published(containers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what containers publish beyond loopback; each address and port once."""
    found = []
    for one in containers:
        bindings = (one.get("HostConfig") or {}).get("PortBindings") or {}
        for hosts in bindings.values():
            for binding in hosts or []:
                address = binding.get("HostIp") or "0.0.0.0"  # noqa: S104 - Docker's word for all addresses
                if not address.startswith(LOOPBACK):
                    port = int(binding.get("HostPort") or 0)
                    found.append({"container": one["Name"].lstrip("/"), "address": address, "port": port})
    return sorted(found, key=lambda row: (row["port"], row["container"]))


def proxied(path: str) -> list[dict[str, Any]]:
    """Return the ports of the proxy's configuration that something listens on beyond loopback."""
    wanted = {int(port) for port in re.findall(r"^\s*listen\s+(?:\[::\]:)?([0-9]+)\b", _text(path), re.MULTILINE)}
    rows = [line.split() for socket in SOCKETS for line in _text(socket).splitlines()[1:]]
    local = (row[1].split(":") for row in rows if len(row) > 3 and row[3] == LISTENING)
    heard = {int(port, 16) for address, port in local if not LOOPBACK_WORDS.match(address)}
    return [{"container": "nginx", "address": "0.0.0.0", "port": port} for port in sorted(wanted & heard)]  # noqa: S104


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def firewalls(module: AnsibleModule) -> list[str]:
    """Return names of the firewalls that are active."""
    active = []
    for name, (command, mark) in FIREWALLS.items():
        binary = module.get_bin_path(command[0])
        if binary and mark in module.run_command([binary, *command[1:]])[1]:
            active.append(name)
    return active


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "namespace": {"type": "str", "default": "rockstat"},
            "intended": {"type": "list", "elements": "int", "default": []},
            "proxy": {"type": "path", "default": "/etc/nginx/conf.d/rockstat.conf"},
        },
        supports_check_mode=True,
    )
    reachable = published(containers_of(module.params["namespace"]))
    unexpected = [row for row in reachable if row["port"] not in module.params["intended"]]
    active = firewalls(module)
    for row in unexpected:
        around = f" ({', '.join(active)} on this host does not stop it: Docker's rules come first)" if active else ""
        module.warn(f"{row['container']} can be reached from outside on {row['address']}:{row['port']}{around}.")
    reachable += proxied(module.params["proxy"])
    module.exit_json(changed=False, open=reachable, unexpected=unexpected, firewalls=active)


if __name__ == "__main__":
    main()
