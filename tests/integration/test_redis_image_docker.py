"""Redis' image as the role runs it: read-only, as its own user, with the playbook's users mounted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from director_host import docker, until
from redis_with_users import ADMIN, BEFORE, DIRECTOR, users_of_the_playbook

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

NAME, USER = "t-redis-image", 10002
CONF = "port 6379\ndir /data\nappendonly yes\nprotected-mode yes\naclfile /data/users.acl\nsave ''\n"


def admin(*words: str) -> str:
    """Run a command as the administrator, as an operator types it."""
    return docker("exec", NAME, "redis-admin", *words)


def signs_in(user: str, password: str) -> bool:
    told = docker("exec", "-e", f"REDISCLI_AUTH={password}", NAME, "redis-cli", "--user", user, "ping", check=False)
    return told.strip() == "PONG"


def run(etc: Path, data: str = f"--volume={NAME}:/data") -> None:
    """Run it with the options of the role, on the same volume each time."""
    image = docker("images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=rockstat/redis").split()[0]
    files = {"redis.conf": "redis.conf", "redis.users.acl": "users.acl", "redis.admin.password": "admin.password"}
    mounts = [f"--volume={etc / ours}:/etc/redis/{theirs}:ro" for ours, theirs in files.items()]
    docker("rm", "-f", NAME, check=False)
    docker(
        "run", "-d", "--name", NAME, "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
        "--network=none", f"--user={USER}:{USER}", data, *mounts, image,
    )  # fmt: skip
    until(lambda: docker("exec", NAME, "redis-admin", "ping", check=False) == "PONG", 30)
    docker("exec", NAME, "redis-health")


@pytest.fixture
def etc(tmp_path: Path) -> Iterator[Path]:
    """The files that the role writes, with their owner and mode, and a fresh volume."""
    docker("rm", "-f", NAME, check=False)
    docker("volume", "rm", NAME, check=False)
    texts = {"redis.conf": CONF, "redis.users.acl": users_of_the_playbook("rockstat"), "redis.admin.password": ADMIN}
    for name, text in texts.items():
        (tmp_path / name).write_text(f"{text}\n" if name.endswith("password") else text)
        os.chown(tmp_path / name, USER, USER)
        (tmp_path / name).chmod(0o600)
    yield tmp_path
    docker("rm", "-f", NAME, check=False)
    docker("volume", "rm", NAME, check=False)


def test_users_of_the_director_outlive_the_container(etc: Path) -> None:
    """Redis writes them to its volume, though its root is read-only; a new container begins with them."""
    run(etc)
    assert signs_in("director", DIRECTOR) and not signs_in("default", BEFORE)
    assert admin("ACL", "SETUSER", "front.0a1b2c3d", "on", ">canary-front", "+ping") == "OK"
    assert admin("ACL", "SAVE") == "OK"
    docker("restart", "-t", "5", NAME)
    until(lambda: signs_in("front.0a1b2c3d", "canary-front"), 30)
    run(etc)
    assert signs_in("front.0a1b2c3d", "canary-front") and not signs_in("default", BEFORE)
    inspected = docker("inspect", NAME)
    assert ADMIN not in inspected and DIRECTOR not in inspected


def test_data_of_a_release_with_one_password_for_all_keeps_its_services_in(etc: Path) -> None:
    """There is data and no file of users: `default` has the password of before, until somebody ends it."""
    run(etc)
    docker("exec", NAME, "rm", "/data/users.acl")
    run(etc)
    assert signs_in("default", BEFORE) and not signs_in("director", BEFORE)
    assert admin("ACL", "SETUSER", "default", "reset") == "OK" and admin("ACL", "SAVE") == "OK"
    run(etc)
    assert not signs_in("default", BEFORE) and signs_in("director", DIRECTOR)


def test_health_says_that_the_disk_is_full(etc: Path) -> None:
    """Docker's check, setup and an operator who runs it read what is wrong."""
    run(etc, f"--tmpfs=/data:size=4m,uid={USER},gid={USER}")
    docker("exec", NAME, "sh", "-c", "dd if=/dev/zero of=/data/ballast bs=64k 2>/dev/null || true")

    def health() -> str:
        docker("exec", NAME, "redis-admin", "set", "filler", "x" * 10_000, check=False)
        return docker("exec", NAME, "sh", "-c", "redis-health 2>&1 || true")

    assert "Redis is not healthy: MISCONF Errors writing to the AOF file: No space left on device" in until(health, 20)
