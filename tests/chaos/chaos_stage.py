"""A platform to hurt: Redis, the director and its services in real containers, in a namespace of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks" / "support")]
import redis_with_users as users  # noqa: E402 - it stands in tests/
from http_json import ask, until  # noqa: E402 - it stands in benchmarks/support/

NAME = os.environ.get("BAND_TEST_CHAOS_NAME", "t-chaos")
PORTS = int(os.environ.get("BAND_TEST_CHAOS_PORTS", "8800"))
"""The first of its ports. Two runs at once have names of their own, and first ports that are 30 apart."""
DOUBLE_PORT, REDIS_PORT, DIRECTOR_PORT, FRONT_PORT = range(PORTS + 20, PORTS + 24)
DIRECTOR = f"http://127.0.0.1:{DIRECTOR_PORT}"
FRONT = f"http://127.0.0.1:{FRONT_PORT}"
REDIS = f"redis://admin:{users.ADMIN}@127.0.0.1:{REDIS_PORT}"
SERVICES = ["front", "uaparser", "mixpanel_double", "send_mixpanel"]
TS_LISTENER = "ts_listener"
"""A durable listener on the TypeScript framework, which stands beside the tests."""
DIRECTOR_IMAGE = os.environ.get("BAND_TEST_DIRECTOR_IMAGE", "rst/band:latest")
BASE_IMAGE = os.environ.get("BAND_TEST_BASE_IMAGE", "rockstat/band-base-py:latest")
REDIS_CONF = """
bind * -::*
dir /data
appendonly yes
appendfsync {fsync}
aof-use-rdb-preamble yes
save ""
maxmemory 256mb
maxmemory-policy noeviction
"""


def docker(*words: str, check: bool = True) -> str:
    """Run the Docker CLI and return its output."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


def newest_image(repository: str) -> str:
    """The newest image of a repository that this engine has."""
    return docker("images", "--format", "{{.Repository}}:{{.Tag}}", repository).split()[0]


@dataclass(frozen=True)
class Release:
    """Sources, the images made of them, and how Redis is shared."""

    root: Path = ROOT
    base: str = BASE_IMAGE
    director: str = DIRECTOR_IMAGE
    redis: str = "rockstat/redis"

    def redis_files(self) -> dict[str, str]:
        """What Redis finds in /etc/redis."""
        return {
            "redis.conf": f"{REDIS_CONF}aclfile /data/users.acl\n",
            "users.acl": users.users_of_the_playbook(NAME),
            "admin.password": f"{users.ADMIN}\n",
        }

    def director_env(self) -> dict[str, str]:
        """How the director signs in to Redis."""
        dsn = f"redis://director:{users.DIRECTOR}@{NAME}-redis:6379"
        return {"REDIS_DSN": dsn, "BAND_REDIS_USERS": "yes"}


def images_to_lay() -> list[str]:
    """Images that another engine needs to run the stage; with those of the services nothing is built there again."""
    built = [
        docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"{NAME}/{name}").split()[:1] for name in SERVICES
    ]
    core = [BASE_IMAGE, DIRECTOR_IMAGE, newest_image(Release.redis)]
    return core + [image for found in built for image in found]


def run(*words: str) -> str:
    """Run a program of this host and return its output."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout.strip()


class RedisDisk:
    """A file system for Redis alone, whose size can be changed while it is in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self) -> None:
        """Have a new one, as the image's user of Redis may write it."""
        self.folder.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=1g,mode=0700,uid=10002,gid=10002", NAME, str(self.folder))

    def unmount(self) -> None:
        """Have it no more."""
        if self.folder.exists():
            run("umount", str(self.folder))
            self.folder.rmdir()

    def fill(self) -> None:
        """Leave no room: it becomes as small as what lies there, which grows while Redis writes."""
        until(self._shrink, 10, "a full disk")

    def _shrink(self) -> bool:
        run("mount", "-o", f"remount,size={shutil.disk_usage(self.folder).used + 4096}", str(self.folder))
        return True

    def free(self) -> None:
        """Have room again."""
        run("mount", "-o", "remount,size=1g", str(self.folder))

    def newest_file(self) -> Path:
        """The file that Redis appends to."""
        return max(self.folder.glob("appendonlydir/*.incr.aof"), key=lambda path: path.stat().st_mtime)


class Stage:
    """The platform under test.

    `fsync` is Redis' appendfsync; `more` is environment for services by name. With `typescript`, a listener on the
    TypeScript framework has the double count every event too, as `ts-<id>`.
    """

    def __init__(
        self,
        folder: Path,
        fsync: str = "everysec",
        more: dict[str, dict[str, str]] | None = None,
        *,
        double_outside: bool = False,
        typescript: bool = False,
    ) -> None:
        self.folder = folder
        self.release = Release()
        self.redis_disk = None if double_outside else RedisDisk(folder / "redis-disk")
        self.services = [name for name in SERVICES if not (double_outside and name == "mixpanel_double")]
        self.services += [TS_LISTENER] * typescript
        self.marks = ("", "ts-") if typescript else ("",)
        self._process: subprocess.Popen[bytes] | None = None
        self.fsync = fsync
        self.env = {name: dict((more or {}).get(name, {})) for name in SERVICES}
        self.env["send_mixpanel"] |= {
            "MIXPANEL_TOKEN": "canary-chaos-token",
            "MIXPANEL_URL": f"http://{NAME}-mixpanel_double:8080",
            "MIXPANEL_TIMEOUT": "5",
        }
        self.env[TS_LISTENER] = {"DOUBLE_URL": f"http://{NAME}-mixpanel_double:8080/track"}
        self.double = ""

    # --- up and down

    def up(self) -> None:
        """Start everything; returns when an event arrives at the double of Mixpanel."""
        self.down()
        docker("network", "create", "--label", f"band.namespace={NAME}", NAME)
        if self.redis_disk is not None:
            self.redis_disk.mount()
        self.start_core()
        if "mixpanel_double" not in self.services:
            self._start_double()
        for name in self.services:
            self.run(name)
        if not self.double:
            port = docker("port", self.container("mixpanel_double"), "8080").rpartition(":")[2]
            self.double = f"http://127.0.0.1:{port}"
        until(self._takes_an_event, 40, "an enriched event at the double")

    def start_core(self) -> None:
        """Start Redis and the director of the release, with its image folders."""
        images = self.folder / "images" / "user"
        shutil.rmtree(images, ignore_errors=True)
        for name in self.services:
            self._lay_image(images / name, name)
        self._start_redis()
        self._start_director()

    def down(self) -> None:
        """Remove everything of the namespace; the director first, or it puts the others back."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None
        docker("rm", "-f", "-v", f"{NAME}-band", f"{NAME}-redis", check=False)
        if self.redis_disk is not None:
            self.redis_disk.unmount()
        for kind, remove in (("container", "rm -f -v"), ("volume", "volume rm -f"), ("network", "network rm")):
            listing = ["ps", "-aq"] if kind == "container" else [kind, "ls", "-q"]
            found = docker(*listing, "--filter", f"label=band.namespace={NAME}").split()
            if found:
                docker(*remove.split(), *found, check=False)
        docker("volume", "rm", "-f", f"{NAME}-front-data", check=False)
        docker("network", "rm", NAME, check=False)

    def run(self, name: str, **env: str) -> None:
        """`/run` a service, with further environment."""
        given = {**self.env.get(name, {}), **env}
        answer = ask(f"{DIRECTOR}/run/{name}", {"env": given})
        assert answer["state"] == "running", answer

    def _start_double(self) -> None:
        """The double as a process of the host: it keeps its memory when the engine ends all containers."""
        env = {**os.environ, "HOST": "0.0.0.0", "PORT": str(DOUBLE_PORT), "REDIS_DSN": REDIS}
        folder = self.folder / "double"
        shutil.copytree(ROOT / "band_images" / "mixpanel_double", folder)
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "mixpanel_double"]
            self._process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
        gateway = docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", NAME)
        self.env["send_mixpanel"]["MIXPANEL_URL"] = f"http://{gateway}:{DOUBLE_PORT}"
        self.double = f"http://127.0.0.1:{DOUBLE_PORT}"

    def _takes_an_event(self) -> bool:
        sent = ask(f"{FRONT}/track/ready.json", {"uid": "1000000000"}, timeout=5)
        time.sleep(1.5)
        return {f"{mark}{sent['id']}" for mark in self.marks} <= set(self.arrived())

    def _lay_image(self, folder: Path, name: str) -> None:
        """A copy of an image folder, with its source; front publishes where nothing else of this host does."""
        if name == TS_LISTENER:
            shutil.copytree(Path(__file__).parent / name, folder)
            return
        left_out = shutil.ignore_patterns("tests", "__pycache__")
        shutil.copytree(self.release.root / "band_images" / name, folder)
        shutil.copytree(self.release.root / "service_src" / name, folder / "src", ignore=left_out)
        if name == "front":
            path = folder / "band.yml"
            path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "ports": {str(FRONT_PORT): 8080}}))

    def _start_redis(self) -> None:
        # Without the namespace's label: the director starts again what carries it, and here Redis is to stay away.
        texts = self.release.redis_files()
        for name, text in texts.items():
            (self.folder / name).write_text(text.replace("{fsync}", self.fsync))
            (self.folder / name).chmod(0o644)
        mounts = [word for name in texts for word in ("-v", f"{self.folder / name}:/etc/redis/{name}:ro")]
        volume: list[str] = []
        if self.redis_disk is not None:
            volume = ["-v", f"{self.redis_disk.folder}:/data"]
        docker(
            "run", "-d", "--name", f"{NAME}-redis", "--network", NAME, "--restart", "always",
            "-p", f"127.0.0.1:{REDIS_PORT}:6379", *volume, *mounts, newest_image(self.release.redis),
        )  # fmt: skip

    def _start_director(self) -> None:
        own = {
            "BAND_IMAGES": "/images", "BAND_URL": f"http://{NAME}-band:8080", "BAND_NAMESPACE": NAME,
            "BAND_BASE_IMAGE": self.release.base, "BAND_PORTS": f"{PORTS}-{DOUBLE_PORT - 1}",
            **self.release.director_env(),
        }  # fmt: skip
        env = [word for name, value in own.items() for word in ("-e", f"{name}={value}")]
        docker(
            "run", "-d", "--name", f"{NAME}-band", "--hostname", f"{NAME}-band", "--network", NAME,
            "--restart", "always", "--label", f"band.namespace={NAME}", "-p", f"127.0.0.1:{DIRECTOR_PORT}:8080",
            "-v", "/var/run/docker.sock:/var/run/docker.sock", "-v", f"{self.folder / 'images'}:/images:ro",
            *env, self.release.director,
        )  # fmt: skip
        until(lambda: ask(f"{DIRECTOR}/health"), 60, "the director")

    # --- what is done to it

    def container(self, name: str) -> str:
        """The container of a service, of `redis` or of the director (`band`)."""
        if name in {"redis", "band"}:
            return f"{NAME}-{name}"
        filters = [f"--filter=label=band.namespace={NAME}", f"--filter=label=band.service={name}"]
        return docker("ps", "-q", *filters).split()[0]

    def started(self, name: str) -> str:
        """When a container was started last: another time later says that it ended in between."""
        return docker("inspect", "-f", "{{.State.StartedAt}}", self.container(name))

    def kill(self, name: str) -> None:
        """kill -9 of a container's first process, as a crash would end it."""
        pid = int(docker("inspect", "-f", "{{.State.Pid}}", self.container(name)))
        os.kill(pid, signal.SIGKILL)

    def kill_child(self, name: str) -> bool:
        """kill -9 of a process that is not the first one; False when there is only one."""
        first = docker("inspect", "-f", "{{.State.Pid}}", self.container(name))
        pids = [line.split()[1] for line in docker("top", self.container(name)).splitlines()[1:]]
        children = [int(pid) for pid in pids if pid != first]
        if children:
            os.kill(children[-1], signal.SIGKILL)
        return bool(children)

    def restart(self, name: str) -> None:
        """Restart as an operator does: services by the director, the two others by Docker."""
        if name in {"redis", "band"}:
            docker("restart", "-t", "10", f"{NAME}-{name}")
        else:
            ask(f"{DIRECTOR}/restart/{name}")

    def pause(self, name: str) -> None:
        docker("pause", self.container(name))

    def unpause(self, name: str) -> None:
        docker("unpause", self.container(name))

    def inside(self, name: str, command: str) -> None:
        """A command of the shell in a container, as the service's own user."""
        docker("exec", self.container(name), "sh", "-c", command)

    def stop_redis(self) -> None:
        docker("stop", "-t", "5", f"{NAME}-redis")

    def start_redis(self) -> None:
        docker("start", f"{NAME}-redis")

    def redis_cli(self, *words: str) -> str:
        """A command of Redis."""
        return docker("exec", f"{NAME}-redis", "redis-admin", *words)

    def cut_off_redis(self, name: str) -> Callable[[], None]:
        """Drop all packets between a service and Redis: no error, only silence. Returns what ends it."""
        pid = docker("inspect", "-f", "{{.State.Pid}}", self.container(name))
        rules = [("OUTPUT", "--dport"), ("INPUT", "--sport")]

        def change(verb: str) -> None:
            for chain, port in rules:
                run("nsenter", "-t", pid, "-n", "iptables", verb, chain, "-p", "tcp", port, "6379", "-j", "DROP")

        change("-I")
        return lambda: change("-D")

    def order(self, **fault: Any) -> None:
        """Tell the double to fail: `status=429, times=5`."""
        ask(f"{self.double}/_double/fail", fault, timeout=10)

    def close_double(self, *tokens: str) -> None:
        """Let only these tokens in; none: everybody."""
        ask(f"{self.double}/_double/settings", {"tokens": list(tokens)}, timeout=10)

    def heal_double(self) -> None:
        """Let the double forget its orders, and let everybody in."""
        self.close_double()
        orders = urllib.request.Request(f"{self.double}/_double/fail", method="DELETE")
        urllib.request.urlopen(orders, timeout=10).close()

    # --- what is seen

    def arrived(self) -> list[str]:
        """The $insert_id of each record that the double counts: unique by event, time, distinct_id and $insert_id.

        Each of `marks` is what a listener's ids begin with.
        """
        return list(ask(f"{self.double}/_double/ids", timeout=20)["ids"])

    def said(self) -> str:
        """The last words of all containers, for a failure's message."""
        names = docker("ps", "-a", "--filter", f"name=^{NAME}-", "--format", "{{.Names}}").split()
        return "\n".join(f"--- {name}\n{_logs(name)}" for name in names)


def _logs(name: str) -> str:
    done = subprocess.run(
        ["docker", "logs", "--tail", "25", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout
