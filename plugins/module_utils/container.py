"""What a container should be, as the arguments of `docker run`: lists only, so no Docker is needed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

CONFIG = "band.config"
DECLARED = "band.declared"
HASH_LENGTH = 12

# Options that take one value, and those that are given once an element.
_SINGLE = {
    "hostname": "--hostname",
    "network": "--network",
    "user": "--user",
    "memory": "--memory",
    "pids_limit": "--pids-limit",
    "restart_policy": "--restart",
    "stop_timeout": "--stop-timeout",
}
_REPEATED = {
    "aliases": "--network-alias",
    "ports": "--publish",
    "volumes": "--volume",
    "groups": "--group-add",
    "tmpfs": "--tmpfs",
    "cap_drop": "--cap-drop",
    "security_opts": "--security-opt",
}
_SWITCHES = {"read_only": "--read-only", "init": "--init"}
_MAPPINGS = {"env": "--env", "log_options": "--log-opt"}
_HEALTH = ("interval", "timeout", "retries", "start_period")


def declared(spec: dict[str, Any]) -> list[str]:
    """The options of `docker run` for a container, without its name, labels and image: one line an option."""
    lines = [f"{flag}={spec[key]}" for key, flag in _SINGLE.items() if spec.get(key) not in (None, "")]
    if spec.get("memory"):
        # Without this a container may take as much again from the swap.
        lines.append(f"--memory-swap={spec['memory']}")
    lines += [f"{flag}={value}" for key, flag in _REPEATED.items() for value in spec.get(key) or []]
    lines += [flag for key, flag in _SWITCHES.items() if spec.get(key)]
    for key, flag in _MAPPINGS.items():
        lines += [f"{flag}={name}={value}" for name, value in sorted((spec.get(key) or {}).items())]
    health = spec.get("healthcheck") or {}
    if health.get("command"):
        lines.append(f"--health-cmd={health['command']}")
        lines += [f"--health-{key.replace('_', '-')}={health[key]}" for key in _HEALTH if health.get(key) is not None]
    return lines


def config_of(spec: dict[str, Any]) -> str:
    """The hash of everything that makes the container what it is: image, options, labels, contents of mounted files."""
    parts = [spec["image"], declared(spec), sorted((spec.get("labels") or {}).items()), spec.get("contents") or []]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:HASH_LENGTH]


def arguments(spec: dict[str, Any]) -> list[str]:
    """All that follows `docker` to run the container, labelled with what it was declared to be."""
    labels = {**(spec.get("labels") or {}), CONFIG: config_of(spec), DECLARED: "\n".join(declared(spec))}
    named = [f"--label={name}={value}" for name, value in sorted(labels.items())]
    return ["run", "--detach", "--pull=never", f"--name={spec['name']}", *declared(spec), *named, spec["image"]]
