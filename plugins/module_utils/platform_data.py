"""The platform's data: volumes and Redis, streamed to and from files."""

from __future__ import annotations

import shlex
import time
from typing import IO

from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import DockerError, docker, run

# The administrator's, of band_images/redis; before it had one, all had the password of the configuration. In no
# argument of the host.
REDIS_CLI = (
    "cli=redis-admin; if ! command -v redis-admin >/dev/null; then cli=redis-cli; "
    'REDISCLI_AUTH="$(sed -n \'s/^requirepass "\\{0,1\\}\\([^"]*\\)"\\{0,1\\}$/\\1/p\' /etc/redis/redis.conf)"; '
    'export REDISCLI_AUTH; fi; exec "$cli" '
)
PAUSE = 0.2
# Which volume a helper is for; uninstall knows it by this.
VOLUME_LABEL = "band.volume"
HELPER = ("run", "--rm", "--interactive", "--network", "none", "--user", "0:0")


class Volume:
    """A named volume, read and written by a container that has only it and no network."""

    def __init__(self, name: str, image: str) -> None:
        self._name = name
        self._label = f"{VOLUME_LABEL}={name}"
        self._image = image

    def create(self, labels: dict[str, str]) -> None:
        """Create it unless it exists."""
        options = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
        docker("volume", "create", *options, self._name)

    def save(self, file: IO[bytes]) -> None:
        """Write everything in it into a file, as a tar. A file may grow meanwhile (code 1)."""
        self._forget_helpers()
        mount = ["tar", "--volume", f"{self._name}:/volume:ro", self._image]
        what = ["--create", "--numeric-owner", "--directory=/volume", "."]
        docker(*HELPER, "--label", self._label, "--entrypoint", *mount, *what, stdout=file, ok=(0, 1))

    def load(self, file: IO[bytes]) -> None:
        """Replace everything in it by a tar."""
        script = (
            "find /volume -mindepth 1 -delete && exec tar --extract --preserve-permissions --numeric-owner -C /volume"
        )
        self._forget_helpers()
        mount = ["sh", "--volume", f"{self._name}:/volume", self._image]
        docker(*HELPER, "--label", self._label, "--entrypoint", *mount, "-c", script, stdin=file)

    def _forget_helpers(self) -> None:
        """Remove containers that a backup or a restore left when it was killed; those of another one that runs stay."""
        ended = ["--filter", "status=created", "--filter", "status=exited", "--filter", "status=dead"]
        left = run("container", "ls", "--all", "--quiet", "--filter", f"label={self._label}", *ended).out.split()
        if left:
            run("container", "rm", *left)


class Redis:
    """The Redis of the platform, in its container."""

    def __init__(self, container: str) -> None:
        self._container = container

    def ask(self, *args: str) -> str:
        """Run one command; returns the reply as text.

        Raises:
            DockerError: Redis did not respond, or refused.
        """
        words = " ".join(shlex.quote(arg) for arg in args)
        answer = docker("exec", self._container, "sh", "-c", REDIS_CLI + words).strip()
        if answer.startswith(("NOAUTH", "NOPERM", "ERR", "WRONGPASS", "LOADING", "MISCONF")):
            raise DockerError(f"Redis in {self._container} answered {args[0]} with: {answer}")
        return answer

    def info(self, section: str) -> dict[str, str]:
        """Return a section of INFO."""
        lines = [line.split(":", 1) for line in self.ask("INFO", section).splitlines() if ":" in line]
        return {key: value.strip() for key, value in lines}

    def snapshot(self, file: IO[bytes], seconds: float) -> None:
        """Write a consistent snapshot into a file, while Redis keeps running.

        Raises:
            DockerError: Redis could not write it, or not within this time.
        """
        deadline = time.monotonic() + seconds
        before = int(self.ask("LASTSAVE"))
        # LASTSAVE counts whole seconds: another save in this one could not be told from ours.
        while int(self.ask("TIME").split()[0]) <= before:
            time.sleep(PAUSE)
        self.ask("BGSAVE", "SCHEDULE")
        while True:
            state = self.info("persistence")
            if state["rdb_bgsave_in_progress"] == "0" and int(state["rdb_last_save_time"]) > before:
                break
            if state["rdb_bgsave_in_progress"] == "0" and state["rdb_last_bgsave_status"] != "ok":
                raise DockerError(f"Redis could not write a snapshot: look at docker logs {self._container}")
            if time.monotonic() >= deadline:
                raise DockerError(f"Redis did not finish a snapshot within {seconds:g} s")
            time.sleep(PAUSE)
        name = self.ask("CONFIG", "GET", "dbfilename").split()[-1]
        docker("exec", self._container, "cat", f"/data/{name}", stdout=file)
