"""The release that platforms are upgraded from: its sources out of git, and its images under names of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import redis_with_users as users
from chaos_stage import NAME, REDIS_CONF, ROOT, Release, newest_image

BEFORE = "380867d"
IMAGES = "t-before"


@dataclass(frozen=True)
class ReleaseBefore(Release):
    """All sign in to Redis with one password; an administrator is added, for the test to look."""

    def redis_files(self) -> dict[str, str]:
        admin = f"user admin on >{users.ADMIN} ~* &* +@all"
        return {"redis.conf": f"{REDIS_CONF}requirepass {users.BEFORE}\n{admin}\n"}

    def director_env(self) -> dict[str, str]:
        return {"REDIS_HOST": f"{NAME}-redis", "REDIS_PASSWORD": users.BEFORE}


def is_known() -> bool:
    """Whether the release is in this clone, which may be a shallow one."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--quiet", "--verify", f"{BEFORE}^{{commit}}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def make(root: Path) -> Release:
    """Lay the sources out in `root` and build the images as its own playbook does."""
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", BEFORE], capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract", "--directory", str(root)], input=archive, check=True)
    # This tag belongs to the director of today.
    build = root / "roles/director/tasks/build.yml"
    build.write_text(build.read_text().replace("rst/band:latest", f"{IMAGES}/band:latest"))
    _build_images(root)
    return ReleaseBefore(root, f"{IMAGES}/base:latest", newest_image(f"{IMAGES}/director"), f"{IMAGES}/redis")


def _build_images(root: Path) -> None:
    variables = {
        "band_home": root / "home",
        "band_base_image_name": f"{IMAGES}/base",
        "band_redis_image_name": f"{IMAGES}/redis",
        "band_director_image_name": f"{IMAGES}/director",
        "band_director_base_image": f"{IMAGES}/base:latest",
    }
    given = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
    env = {**os.environ, "ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_HOME": str(root / ".ansible")}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/images.yml", "--tags", "images"]
    done = subprocess.run([*command, *given], cwd=root, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
