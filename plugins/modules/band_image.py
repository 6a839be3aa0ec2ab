#!/usr/bin/python
"""Build an image when its context, its base or its arguments differ from every image built before."""

from __future__ import annotations

DOCUMENTATION = r"""
module: band_image
short_description: Build a Docker image whose tag is the hash of its sources
version_added: 0.1.0
description:
  - Hashes the build context, the build arguments and the identity of the base image, and builds C(name:hash)
    with BuildKit when there is none.
  - An existing image is never built again, so a run without changes takes one C(docker image inspect).
  - Its label C(band.contents) is the hash of what comes from I(src) alone, so it is the same on every host.
  - Needs the C(docker) client on the host, with BuildKit (the buildx plugin from Docker 23 on).
options:
  name:
    description: Repository of the image, without a tag.
    type: str
    required: true
  context:
    description: What the build context is made of, in this order; a later one wins.
    type: list
    elements: dict
    required: true
    suboptions:
      src:
        description: A file or folder on the host. Tests, caches and files named .env are left out of a folder.
        type: path
      text:
        description: The text of a file, instead of I(src).
        type: str
      dest:
        description: Path in the context; with C(.), a folder's files are at the root.
        type: str
        default: .
      optional:
        description: Whether I(src) may be missing.
        type: bool
        default: false
  build_args:
    description: Build arguments.
    type: dict
    default: {}
  base:
    description: Image that this one is built on. If it has changed, this one is built again.
    type: str
  tags:
    description: Additional full names for this image.
    type: list
    elements: str
    default: []
  labels:
    description: Labels of the image.
    type: dict
    default: {}
  sources_changed:
    description:
      - Whether the context's folders are about to change. Only check mode looks at it, where they have not changed yet.
        It says then that an image would be built.
    type: bool
    default: false
  timeout:
    description: Time limit of the build, in seconds.
    type: int
    default: 900
attributes:
  check_mode:
    support: full
    description: Says whether it would build, without building.
author: The Rockstat Band founders (@rockstat)
"""

EXAMPLES = r"""
- name: Build Redis
  rockstat.band.band_image:
    name: rockstat/redis
    context:
      - src: /srv/rockstat/source/band_images/redis
    base: rockstat/rootfs:trixie
    build_args:
      BASE_CONTAINER: rockstat/rootfs:trixie
"""

RETURN = r"""
image:
  description: The image's full name with the hash as its tag.
  type: str
  returned: always
image_id:
  description: ID of the image; empty in check mode if it would be built.
  type: str
  returned: always
seconds:
  description: Duration of the build; 0 if there was none.
  type: float
  returned: always
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from typing import IO, Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import TIMED_OUT, Answer, progress_file, run
from ansible_collections.rockstat.band.plugins.module_utils.tree import add_file, add_text, files_of

TAG_LENGTH = 12
# Stands for the hash of what is not there yet.
CHANGED = "changed"
ATTEMPTS = 3
# The engine could not start a step at all, which passes: runc lost its own child on a busy host.
ENGINE_FAULTS = ("runc run failed: unable to start container process: waiting for init", "failed to create shim task")
LOG_LINES = 40


class Image:
    """The image of a module call."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.args: dict[str, Any] = module.params

    def docker(self, *args: str, stderr: IO[bytes] | None = None) -> Answer:
        """Run the Docker client within the time allowed."""
        environment = {"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain", "DOCKER_CLI_HINTS": "false"}
        # What the builder's client notes of a build would stay in root's home.
        environment["BUILDX_CONFIG"] = os.path.join(str(self.module.tmpdir), "buildx")
        return run(*args, stderr=stderr, env=environment, timeout=self.args["timeout"])

    def identity(self, name: str) -> str:
        """Return the id of an image on this host; empty if there is none."""
        code, out, _err = self.docker("image", "inspect", "--format", "{{json .Id}}", name)
        return str(json.loads(out)) if code == 0 else ""

    def lay_context(self, folder: str) -> None:
        """Copy the build context into a folder."""
        for entry in self.args["context"]:
            target = os.path.normpath(os.path.join(folder, entry["dest"]))
            if entry.get("text") is not None:
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "w", encoding="utf-8") as file:
                    file.write(entry["text"])
            elif os.path.isdir(entry["src"]):
                for name in files_of(entry["src"]):
                    self.copy(os.path.join(entry["src"], name), os.path.join(target, name))
            elif os.path.isfile(entry["src"]):
                self.copy(entry["src"], target)
            elif (
                not entry["optional"] and not self.module.check_mode
            ):  # in check mode an earlier task would have laid it
                self.module.fail_json(msg=f"{entry['src']} is not there, and {self.args['name']} is built from it.")

    @staticmethod
    def copy(source: str, target: str) -> None:
        """Copy contents and mode, with the folders above."""
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)
        shutil.copymode(source, target)

    def tag_of(self, folder: str) -> str:
        """Return the hash of everything that the image is made of."""
        digest = hashlib.sha256()
        for name in files_of(folder):
            add_file(digest, name, os.path.join(folder, name))
        for kind in ("build_args", "labels"):
            add_text(digest, kind, json.dumps(self.args[kind], sort_keys=True))
        if self.args["base"]:
            add_text(digest, "base", self.identity(self.args["base"]) or self.args["base"])
        return digest.hexdigest()[:TAG_LENGTH]

    def contents(self) -> str:
        """Return the hash of the sources; without the base, texts, and what may be missing, which are this host's."""
        digest = hashlib.sha256()
        for entry in self.args["context"]:
            if entry.get("src") and not entry["optional"]:
                for name in files_of(entry["src"]):
                    add_file(digest, os.path.join(entry["dest"], name), os.path.join(entry["src"], name))
        return digest.hexdigest()[:TAG_LENGTH]

    def build(self, folder: str, image: str) -> float:
        """Build, or fail with the last lines of the log; return the duration in seconds."""
        started = time.monotonic()
        options = ["--tag", image]
        for key, value in self.args["build_args"].items():
            options += ["--build-arg", f"{key}={value}"]
        for key, value in {"band.contents": self.contents(), **self.args["labels"]}.items():
            options += ["--label", f"{key}={value}"]
        for _attempt in range(ATTEMPTS):
            with progress_file() as file:
                code, out, printed = self.docker("build", *options, folder, stderr=file)
                file.seek(0)
                err = file.read().decode("utf-8", "replace") or printed
            if not code or not any(mark in err for mark in ENGINE_FAULTS):
                break
        if code:
            why = f"was not built within {self.args['timeout']} s" if code == TIMED_OUT else "could not be built"
            log = "\n".join((out + err).strip().splitlines()[-LOG_LINES:])
            self.module.fail_json(msg=f"{image} {why}. The end of the build log:\n{log}", rc=code, image=image)
        return round(time.monotonic() - started, 1)

    def ensure(self) -> dict[str, Any]:
        """Build and tag the image if necessary."""
        if self.module.check_mode and self.args["sources_changed"]:
            return {"changed": True, "image": f"{self.args['name']}:{CHANGED}", "image_id": "", "seconds": 0.0}
        # With the umask of root's shell the context would depend on who runs this.
        os.umask(0o022)
        with tempfile.TemporaryDirectory(dir=self.module.tmpdir) as folder:
            self.lay_context(folder)
            image = f"{self.args['name']}:{self.tag_of(folder)}"
            identity, seconds = self.identity(image), 0.0
            missing = not identity
            if missing and not self.module.check_mode:
                seconds = self.build(folder, image)
                identity = self.identity(image)
        stale = [tag for tag in self.args["tags"] if self.identity(tag) != identity]
        for tag in stale if not self.module.check_mode else []:
            code, _out, err = self.docker("tag", image, tag)
            if code:
                self.module.fail_json(msg=f"{image} could not be tagged {tag}: {err.strip()}")
        return {"changed": missing or bool(stale), "image": image, "image_id": identity, "seconds": seconds}


def main() -> None:
    """Entry point."""
    entry = {
        "src": {"type": "path"},
        "text": {"type": "str"},
        "dest": {"type": "str", "default": "."},
        "optional": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "context": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": entry,
                "mutually_exclusive": [("src", "text")],
                "required_one_of": [("src", "text")],
            },
            "build_args": {"type": "dict", "default": {}},
            "base": {"type": "str"},
            "tags": {"type": "list", "elements": "str", "default": []},
            "labels": {"type": "dict", "default": {}},
            "sources_changed": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 900},
        },
        supports_check_mode=True,
    )
    module.exit_json(**Image(module).ensure())


if __name__ == "__main__":
    main()
