"""The Docker client for data: volumes and Redis as streams into files and out of them."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Sequence
from typing import IO

# The administrator's, of band_images/redis; before it had one, all had the password of the configuration. In no
# argument of the host.
REDIS_CLI = (
    "cli=redis-admin; if ! command -v redis-admin >/dev/null; then cli=redis-cli; "
    'REDISCLI_AUTH="$(sed -n \'s/^requirepass "\\{0,1\\}\\([^"]*\\)"\\{0,1\\}$/\\1/p\' /etc/redis/redis.conf)"; '
    'export REDISCLI_AUTH; fi; exec "$cli" '
)
PAUSE = 0.2


class EngineError(Exception):
    """The Docker client failed; the message has its words."""


def docker(
    args: Sequence[str], stdin: IO[bytes] | None = None, stdout: IO[bytes] | None = None, ok: Sequence[int] = (0,)
) -> bytes:
    """Run the Docker client; what it printed, when that does not go to a file.

    Raises:
        EngineError: it ended with another code than those of `ok`.
    """
    done = subprocess.run(  # noqa: S603 - an argument list, no shell
        ["docker", *args],  # noqa: S607 - where the client is differs by how Docker was installed
        stdin=stdin or subprocess.DEVNULL,
        stdout=stdout or subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode not in ok:
        words = done.stderr.decode("utf-8", "replace").strip()
        raise EngineError(f"docker {args[0]} failed ({done.returncode}): {words or 'it said nothing'}")
    return done.stdout or b""


class Volume:
    """A named volume, read and written by a container that has only it and no network."""

    def __init__(self, name: str, image: str) -> None:
        self._name = name
        self._run = ["run", "--rm", "--interactive", "--network", "none", "--user", "0:0", "--entrypoint"]
        self._image = image

    def create(self, labels: dict[str, str]) -> None:
        """Make it unless it is there."""
        options = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
        docker(["volume", "create", *options, self._name])

    def save(self, file: IO[bytes]) -> None:
        """Write everything in it into a file, as a tar. A file may grow meanwhile (code 1)."""
        mount = ["tar", "--volume", f"{self._name}:/volume:ro", self._image]
        docker([*self._run, *mount, "--create", "--numeric-owner", "--directory=/volume", "."], stdout=file, ok=(0, 1))

    def load(self, file: IO[bytes]) -> None:
        """Replace everything in it by a tar."""
        script = (
            "find /volume -mindepth 1 -delete && exec tar --extract --preserve-permissions --numeric-owner -C /volume"
        )
        docker([*self._run, "sh", "--volume", f"{self._name}:/volume", self._image, "-c", script], stdin=file)


class Redis:
    """The Redis of the platform, in its container."""

    def __init__(self, container: str) -> None:
        self._container = container

    def ask(self, *args: str) -> str:
        """Run one command; its answer as text.

        Raises:
            EngineError: Redis did not answer, or refused.
        """
        words = " ".join(shlex.quote(arg) for arg in args)
        answer = docker(["exec", self._container, "sh", "-c", REDIS_CLI + words]).decode("utf-8", "replace").strip()
        if answer.startswith(("NOAUTH", "NOPERM", "ERR", "WRONGPASS", "LOADING", "MISCONF")):
            raise EngineError(f"Redis in {self._container} answered {args[0]} with: {answer}")
        return answer

    def info(self, section: str) -> dict[str, str]:
        """A section of INFO."""
        lines = [line.split(":", 1) for line in self.ask("INFO", section).splitlines() if ":" in line]
        return {key: value.strip() for key, value in lines}

    def snapshot(self, file: IO[bytes], seconds: float) -> None:
        """Write a snapshot of one moment into a file, while Redis goes on working.

        Raises:
            EngineError: Redis could not write it, or not within this time.
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
                raise EngineError(f"Redis could not write a snapshot: look at docker logs {self._container}")
            if time.monotonic() >= deadline:
                raise EngineError(f"Redis did not finish a snapshot within {seconds:g} s")
            time.sleep(PAUSE)
        name = self.ask("CONFIG", "GET", "dbfilename").split()[-1]
        docker(["exec", self._container, "cat", f"/data/{name}"], stdout=file)
