"""A host of its own in a container, with systemd and a Docker engine that may be restarted without hurting anybody."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

HOST = "t-chaos-host"
IMAGE = "t-chaos/host:latest"

DOCKERFILE = """
FROM rockstat/rootfs:trixie
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \\
    systemd systemd-sysv dbus docker.io docker-cli docker-buildx iptables iproute2 ca-certificates >/dev/null
CMD ["/sbin/init"]
"""


class Host:
    """The host. Inside the block, this process' Docker commands go to its engine; its ports are reached by `inside`."""

    def __init__(self) -> None:
        # The host sees this folder at the same place, so that its containers can mount what lies there. Not below /tmp:
        # systemd lays a file system of its own over that one.
        self.folder = Path(tempfile.mkdtemp(prefix="t-chaos-host-", dir="/var/tmp"))
        self.pid = 0

    def start(self, images: list[str]) -> None:
        """Start it, with `images` of this machine laid into its engine."""
        self.stop()
        _docker("buildx", "build", "--quiet", "--load", "--tag", IMAGE, "-", given=DOCKERFILE)
        self.folder.mkdir(exist_ok=True)
        _docker(
            "run", "-d", "--name", HOST, "--hostname", HOST, "--privileged", "--cgroupns=private",
            "--tmpfs", "/run", "--tmpfs", "/run/lock", "-v", "/var/lib/docker",
            "-v", f"{self.folder}:{self.folder}", IMAGE,
        )  # fmt: skip
        self.pid = int(_docker("inspect", "-f", "{{.State.Pid}}", HOST))
        self._wait_for_engine()
        archive = self.folder / "images.tar"
        _docker("save", "-o", str(archive), *images)
        _docker("exec", HOST, "docker", "load", "-q", "-i", str(archive))
        archive.unlink()

    def stop(self) -> None:
        """Remove it."""
        subprocess.run(["docker", "rm", "-f", "-v", HOST], capture_output=True, check=False)

    def inside(self, *command: str) -> list[str]:
        """The command, in the host's network and with its engine, but with this machine's files."""
        socket = f"unix:///proc/{self.pid}/root/run/docker.sock"
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "env", f"DOCKER_HOST={socket}", *command]

    def _wait_for_engine(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            done = subprocess.run(["docker", "exec", HOST, "docker", "info"], capture_output=True, check=False)
            if done.returncode == 0:
                return
            time.sleep(0.5)
        raise AssertionError("the host's engine did not start: " + _docker("logs", HOST))


def systemctl(*words: str) -> None:
    """Run systemctl on the host, out of its network namespace."""
    env = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
    subprocess.run(["docker", "exec", HOST, "systemctl", *words], check=True, env=env)


def kill_engine() -> None:
    """kill -9 of the host's dockerd; systemd starts it again."""
    systemctl("kill", "--signal=SIGKILL", "--kill-whom=main", "docker")


def _docker(*words: str, given: str | None = None) -> str:
    done = subprocess.run(["docker", *words], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {words[0]}: {done.stderr}"
    return done.stdout.strip()
