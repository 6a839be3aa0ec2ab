#!/usr/bin/python
"""Run a container of the platform's core; if a new one does not respond, the previous one is restored."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_container
short_description: Run a container, and keep the previous one until the new one answers
version_added: 0.1.0
description:
  - Compares a label with the hash of the desired state of the container, and does nothing if they match.
  - Otherwise stops the previous container, runs the new one and waits until it answers. If it does not, the end
    of its log becomes the error, it is removed, and the previous one runs again.
  - A container of this name without the platform's label is not touched.
  - Needs the C(docker) client on the host, and nothing else.
options:
  name:
    description: Name of the container.
    type: str
    required: true
  image:
    description: Full name of an image that is on the host.
    type: str
    required: true
  options:
    description:
      - Options of C(docker run), one per element, such as C(--memory=768m). They decide what the container may do,
        so C(--read-only), C(--cap-drop=ALL) and the like stand here too.
      - No secrets in C(--env), since C(docker inspect) shows it.
    type: list
    elements: str
    default: []
  groups_of:
    description: Paths on the host whose groups the user joins, such as Docker's socket.
    type: list
    elements: path
    default: []
  labels:
    description: Labels. C(band.managed=true) is always among them.
    type: dict
    default: {}
  contents:
    description: Checksums of mounted files, and of anything else whose change requires a new container.
    type: list
    elements: str
    default: []
  watched:
    description: Whether a systemd unit C(rockstat@NAME.service) restarts it after C(docker kill).
    type: bool
    default: true
  ready_command:
    description: Command in the container that succeeds as soon as it answers.
    type: list
    elements: str
    default: []
  ready_url:
    description: URL that answers with 200 as soon as the container is ready.
    type: str
    default: ""
  ready_token:
    description: Token sent to O(ready_url).
    type: str
    default: ""
  ready_timeout:
    description: Seconds in which it has to answer.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Says what would be done.
  diff_mode:
    support: full
    description: Shows the options of C(docker run) before and after.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Run Redis
  rockstat.band.band_container:
    name: redis
    image: rockstat/redis:0123456789ab
    options:
      - --network=rockstat
      - --volume=rockstat-redis-data:/data
      - --memory=768m
      - --read-only
      - --cap-drop=ALL
    ready_command: [redis-health]
"""

RETURN = r"""
action:
  description: What was done, or would be in check mode (V(nothing), V(watch), V(start), V(create), V(replace)).
  type: str
  returned: always
container_id:
  description: ID of the container; empty in check mode if there is none.
  type: str
  returned: always
seconds:
  description: How long it took until the container answered.
  type: float
  returned: always
"""

import hashlib
import json
import os
import time
from typing import Any
from urllib.error import HTTPError

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import Answer, DockerError, docker, inspect, run
from ansible_collections.rockstat.band.plugins.module_utils.watch import Watch

LOG_LINES = 30
PAUSE = 0.3
BEFORE = "-before"
CONFIG = "band.config"
DECLARED = "band.declared"
HASH_LENGTH = 12


class Container:
    """The container of a module call."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._spec: dict[str, Any] = dict(module.params)
        self._spec["labels"] = {"band.managed": "true", **self._spec["labels"]}
        self._options = [
            *self._spec["options"],
            *(f"--group-add={_group_of(path)}" for path in self._spec["groups_of"]),
        ]
        self._name: str = self._spec["name"]
        self._kept = self._name + BEFORE
        self._watch = Watch(module, self._name)

    def ensure(self) -> dict[str, Any]:
        """Bring the container to its desired state; raises DockerError, or fails the module, if it cannot."""
        started = time.monotonic()
        current = self._recovered()
        labels = (current.get("Config") or {}).get("Labels") or {}
        if current and labels.get("band.managed") != "true":
            self._module.fail_json(
                msg=f"A container named {self._name} is there that is not ours (it has no label band.managed), "
                "so it is left alone. Rename or remove it, or choose another band_namespace."
            )
        action = self._action(current, labels)
        if not self._module.check_mode:
            if action in ("create", "replace"):
                self._replace(bool(current))
            else:
                self._keep_up(action)
            if action != "nothing" and self._spec["watched"]:
                self._watch.ensure()
        result: dict[str, Any] = {"changed": action != "nothing", "action": action}
        result["container_id"] = str(self._inspect(self._name).get("Id", ""))
        result["seconds"] = round(time.monotonic() - started, 1)
        if self._module._diff and action != "nothing":
            result["diff"] = self._difference(current, labels)
        return result

    def _keep_up(self, action: str) -> None:
        if action == "start":
            docker("start", self._name)
        if problem := self._wait():
            self._module.fail_json(msg=f"{self._name} {problem}{self._words()}")

    def _action(self, current: dict[str, Any], labels: dict[str, str]) -> str:
        if not current:
            return "create"
        if labels.get(CONFIG) != self._config():
            return "replace"
        if not current["State"]["Running"]:
            return "start"
        return "watch" if self._spec["watched"] and self._watch.missing() else "nothing"

    def _recovered(self) -> dict[str, Any]:
        """Return the current container; one that an interrupted run set aside is restored."""
        current = self._inspect(self._name)
        if not current and self._inspect(self._kept):
            if self._module.check_mode:
                return self._inspect(self._kept)
            docker("rename", self._kept, self._name)
            current = self._inspect(self._name)
        return current

    def _replace(self, existed: bool) -> None:
        run("rm", "--force", self._kept)
        self._watch.pause()
        if existed:
            docker("rename", self._name, self._kept)
            docker("stop", self._kept)
        code, _out, err = self._run()
        problem = f"could not be started: {err.strip()}" if code else self._wait()
        if not problem:
            run("rm", "--force", self._kept)
            return
        words = self._words() if not code else ""
        run("rm", "--force", self._name)
        if existed:
            docker("rename", self._kept, self._name)
            docker("start", self._name)
            if self._spec["watched"]:
                self._watch.ensure()
        after = "The previous one runs again" if existed else "It was removed"
        self._module.fail_json(
            msg=f"The new container {self._name} ({self._spec['image']}) {problem} {after}.{words}", rolled_back=existed
        )

    def _config(self) -> str:
        """Return the hash of the container's whole configuration."""
        parts = [self._spec["image"], self._options, sorted(self._spec["labels"].items()), self._spec["contents"]]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:HASH_LENGTH]

    def _run(self) -> Answer:
        labels = {**self._spec["labels"], CONFIG: self._config(), DECLARED: "\n".join(self._options)}
        named = [f"--label={name}={value}" for name, value in sorted(labels.items())]
        return run(
            "run", "--detach", "--pull=never", f"--name={self._name}", *self._options, *named, self._spec["image"]
        )

    def _wait(self) -> str:
        """Wait until it responds; return what is wrong if it does not, else an empty string."""
        deadline = time.monotonic() + self._spec["ready_timeout"]
        problem = self._problem()
        while problem and time.monotonic() < deadline:
            time.sleep(PAUSE)
            problem = self._problem()
        return f"did not answer within {self._spec['ready_timeout']} s ({problem})." if problem else ""

    def _problem(self) -> str:
        if self._spec["ready_command"]:
            code, out, err = run("exec", self._name, *self._spec["ready_command"])
            return (err or out).strip()[-300:] or f"exit code {code}" if code else ""
        return self._ask(self._spec["ready_url"]) if self._spec["ready_url"] else ""

    def _ask(self, url: str) -> str:
        headers = {"Authorization": f"Bearer {self._spec['ready_token']}"} if self._spec["ready_token"] else {}
        try:
            open_url(url, headers=headers, timeout=5, use_proxy=False)
        except HTTPError as error:
            return f"{url} answers {error.code}"
        except OSError as error:
            return f"{url}: {getattr(error, 'reason', error)}"
        return ""

    def _words(self) -> str:
        _code, out, err = run("logs", "--tail", str(LOG_LINES), self._name)
        lines = (out + err).strip().splitlines()[-LOG_LINES:]
        return "\n".join(["", f"The end of its log (docker logs {self._name}):", *lines])

    def _difference(self, current: dict[str, Any], labels: dict[str, str]) -> dict[str, str]:
        image = (current.get("Config") or {}).get("Image", "")
        before = [f"image={image}", f"config={labels.get(CONFIG, '')}", *labels.get(DECLARED, "").splitlines()]
        after = [f"image={self._spec['image']}", f"config={self._config()}", *self._options]
        return {
            "before_header": self._name,
            "after_header": self._name,
            "before": "".join(f"{line}\n" for line in (before if current else [])),
            "after": "".join(f"{line}\n" for line in after),
        }

    def _inspect(self, name: str) -> dict[str, Any]:
        return next(iter(inspect("container", name)), {})


def _group_of(path: str) -> str:
    try:
        return str(os.stat(path).st_gid)
    except FileNotFoundError:  # in check mode an earlier task would have made it
        return "0"


def main() -> None:
    """Entry point."""
    texts = {"type": "list", "elements": "str"}
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "image": {"type": "str", "required": True},
            "options": {**texts, "default": []},
            "groups_of": {"type": "list", "elements": "path", "default": []},
            "labels": {"type": "dict", "default": {}},
            "contents": {**texts, "default": []},
            "watched": {"type": "bool", "default": True},
            "ready_command": {**texts, "default": []},
            "ready_url": {"type": "str", "default": ""},
            "ready_token": {"type": "str", "no_log": True, "default": ""},
            "ready_timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**Container(module).ensure())
    except DockerError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
