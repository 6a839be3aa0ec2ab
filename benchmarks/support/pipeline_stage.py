"""The platform of the pipeline's benchmark: real containers in a namespace of their own, run by a real director."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import yaml
from http_json import ask, until

ROOT = Path(__file__).resolve().parents[2]
NAME = "t-pipe"
FRONT_PORT, DIRECTOR_PORT = 10150, 10152
POOL = "8790-8799"
ENRICHERS = ("mmgeo", "sxgeo", "uaparser")
DELIVERY = ("mixpanel_double", "send_mixpanel")
DATABASES = ROOT / ".cache" / "databases"
BASE_IMAGE = "rockstat/band-base-py:latest"
DIRECTOR_IMAGE = "rst/band:latest"
REDIS_CONF = """bind * -::*
protected-mode no
dir /data
appendonly yes
appendfsync everysec
aof-use-rdb-preamble yes
save ""
maxmemory 2gb
maxmemory-policy noeviction
"""


class Use(NamedTuple):
    """CPU seconds since its start, and MiB of memory that cannot be given back, of one container."""

    cpu_s: float
    memory_mb: float


def docker(*words: str, check: bool = True) -> str:
    """Run the Docker CLI and return its output."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise SystemExit(f"docker {' '.join(words[:4])}…: {done.stderr}")
    return done.stdout.strip()


class Stage:
    """Containers, by the names of services."""

    def __init__(self, workers: str) -> None:
        self._workers = workers
        self._folder = Path(tempfile.mkdtemp(prefix="t-pipe-"))

    def __enter__(self) -> Stage:
        self._clear()
        for name in ("front", *ENRICHERS, *DELIVERY):
            self._lay(name)
        docker("network", "create", "--label", f"band.namespace={NAME}", NAME)
        conf = self._folder / "redis.conf"
        conf.write_text(REDIS_CONF)
        conf.chmod(0o644)
        image = docker(
            "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=rockstat/redis"
        ).split()[0]
        self._run("redis", image, "-v", f"{conf}:/etc/redis/redis.conf:ro")
        own = {
            "REDIS_HOST": f"{NAME}-redis", "BAND_URL": f"http://{NAME}-director:8080", "BAND_IMAGES": "/images",
            "BAND_NAMESPACE": NAME, "BAND_PORTS": POOL, "BAND_BASE_IMAGE": BASE_IMAGE,
        }  # fmt: skip
        env = [word for pair in own.items() for word in ("-e", "=".join(pair))]
        volumes = ("-v", f"{self._folder}/images:/images:ro", "-v", "/var/run/docker.sock:/var/run/docker.sock")
        self._run("director", DIRECTOR_IMAGE, "-p", f"127.0.0.1:{DIRECTOR_PORT}:8080", *volumes, *env)
        until(lambda: ask(f"http://127.0.0.1:{DIRECTOR_PORT}/health"), 60, "the director")
        self.start("front", WORKERS=self._workers)
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, name: str, **env: str) -> None:
        """Have the director build and run a service."""
        answer = ask(f"http://127.0.0.1:{DIRECTOR_PORT}/run/{name}", {"env": env})
        if answer.get("state") != "running":
            raise SystemExit(f"{name} does not run: {answer}")

    def start_baseline(self) -> None:
        """Run the baseline."""
        script = Path(__file__).with_name("pipeline_baseline.py")
        env = f"REDIS_DSN=redis://{NAME}-redis:6379"
        self._run(
            "baseline", BASE_IMAGE, "-v", f"{script}:/baseline.py:ro", "-e", env, command=("python", "/baseline.py")
        )
        until(lambda: ask(f"{self.address('baseline')}/x", {}), 30, "the baseline")

    def stop(self, name: str) -> None:
        """Remove a container that no director looks after."""
        docker("rm", "-f", "-v", self.container(name), check=False)

    def container(self, name: str) -> str:
        """The id of a service's container."""
        own = docker("ps", "-q", "--filter", f"name=^{NAME}-{name}$")
        filters = [f"--filter=label=band.namespace={NAME}", f"--filter=label=band.service={name}"]
        return own or docker("ps", "-q", *filters).split()[0]

    def address(self, name: str) -> str:
        """The URL of a service on the bridge, where nothing but the kernel stands between."""
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return f"http://{docker('inspect', '-f', form, self.container(name))}:8080"

    def use(self) -> dict[str, Use]:
        """What every container uses."""
        found = {}
        for line in docker(
            "ps", "--no-trunc", "--format", "{{.ID}} {{.Names}}", "--filter", f"network={NAME}"
        ).splitlines():
            container, name = line.split()
            found[_short(name)] = _use_of(docker("inspect", "-f", "{{.State.Pid}}", container))
        return found

    def redis(self, *words: str) -> str:
        """One command of redis-cli."""
        return docker("exec", self.container("redis"), "redis-cli", *words)

    def _run(self, name: str, image: str, *more: str, command: tuple[str, ...] = ()) -> None:
        labels = ("--label", f"band.namespace={NAME}")
        docker("run", "-d", "--name", f"{NAME}-{name}", "--network", NAME, *labels, *more, image, *command)

    def _lay(self, name: str) -> None:
        """A copy of an image folder with its source; front on a port of its own, databases that were fetched before."""
        folder = self._folder / "images" / "user" / name
        shutil.copytree(ROOT / "band_images" / name, folder)
        left_out = shutil.ignore_patterns("tests", "__pycache__")
        shutil.copytree(ROOT / "service_src" / name, folder / "src", ignore=left_out)
        settings = yaml.safe_load((folder / "band.yml").read_text())
        if name == "front":
            settings["ports"] = {str(FRONT_PORT): 8080}
        if (DATABASES / name).is_dir() and name != "uaparser":
            shutil.copytree(DATABASES / name, folder / "databases")
            dockerfile = folder / "Dockerfile"
            copied = "COPY --chown=10001:10001 databases/ /data/\nCMD"
            dockerfile.write_text(dockerfile.read_text().replace("CMD", copied))
        (folder / "band.yml").write_text(yaml.safe_dump(settings))

    def _clear(self) -> None:
        docker("rm", "-f", "-v", f"{NAME}-director", check=False)
        for kind, remove in (("container", "rm -f -v"), ("volume", "volume rm -f"), ("network", "network rm")):
            listing = ["ps", "-aq"] if kind == "container" else [kind, "ls", "-q"]
            found = docker(*listing, "--filter", f"label=band.namespace={NAME}").split()
            if found:
                docker(*remove.split(), *found, check=False)


def _short(container: str) -> str:
    return container.removeprefix(f"{NAME}-").split("-")[0].split(".")[0]


def _use_of(pid: str) -> Use:
    """Read the counters of a container's control group, of the second version or the first."""
    groups = {line.split(":")[1]: line.split(":")[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        group = root / groups[""].lstrip("/")
        cpu = int(_words(group / "cpu.stat")["usage_usec"]) / 1e6
        memory = _words(group / "memory.stat")
        return Use(cpu, (int(memory["anon"]) + int(memory["kernel_stack"]) + int(memory["shmem"])) / 2**20)
    cpu = int((root / "cpuacct" / groups["cpuacct"].lstrip("/") / "cpuacct.usage").read_text()) / 1e9
    memory = _words(root / "memory" / groups["memory"].lstrip("/") / "memory.stat")
    return Use(cpu, int(memory["total_rss"]) / 2**20)


def _words(file: Path) -> dict[str, str]:
    return dict(line.split() for line in file.read_text().splitlines())
