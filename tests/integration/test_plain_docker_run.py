"""The director alone, from the README's `docker run`: its own network and Redis, the README's service, an event."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from director_host import end_proxy
from http_json import ask, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NAME = "t-plain"
DIRECTOR = "http://127.0.0.1:10990"
FRONT = "http://127.0.0.1:10991"
UA = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"  # noqa: E501
TOKEN = "canary-mixpanel-token"
# Services in the original's style and folders; `overseer` is left out, because it plays the director.
ORIGINALS = ["asker", "cookiejar", "eventsink", "talker", "ticker", "uadetect", "wildlinks"]


def docker(*words: str, check: bool = True) -> str:
    """Run the Docker CLI and return its output."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def remove_everything() -> None:
    """Remove what an earlier run left, and nothing else; the director first, or it puts the others back."""
    docker("rm", "-f", f"{NAME}-band", f"{NAME}-redis", check=False)
    for kind, remove in (("container", "rm -f"), ("volume", "volume rm -f"), ("network", "network rm")):
        listing = ["ps", "-aq"] if kind == "container" else [kind, "ls", "-q"]
        for identity in docker(*listing, "--filter", f"label=band.namespace={NAME}").split():
            docker(*remove.split(), identity, check=False)
    docker("network", "rm", NAME, check=False)


def readme_service(folder: Path) -> None:
    """Write the README's example: each code block that follows, or begins with, a path under images/user."""
    blocks = re.findall(r"```\w+\n# /srv/rockstat/images/user/(\S+)\n(.*?)```", README, re.DOTALL)
    assert {path for path, _ in blocks} == {
        "weekday/weekday/__main__.py",
        "weekday/Dockerfile",
        "weekday/config.yaml",
        "weekday/band.yml",
    }
    for path, text in blocks:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def front_on_another_port(folder: Path) -> None:
    """Lay a copy of front's image folder that publishes where nothing else of this host does."""
    shutil.copytree(ROOT / "band_images" / "front", folder / "front")
    left_out = shutil.ignore_patterns("tests", "__pycache__")
    shutil.copytree(ROOT / "service_src" / "front", folder / "front" / "src", ignore=left_out)
    path = folder / "front" / "band.yml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "ports": {FRONT.rpartition(":")[2]: 8080}}))


def readme_command(images: Path) -> list[str]:
    """Return the README's `docker run`, under names, a port and a network that are the test's own."""
    found = re.search(r"^docker run -d --name=band.*?rst/band$", README, re.DOTALL | re.MULTILINE)
    assert found
    own = {
        "--name=band": f"--name={NAME}-band", "--network custom": f"--network {NAME}", "10000:8080": "10990:8080",
        "http://band:8080": f"http://{NAME}-band:8080", "REDIS_HOST=redis": f"REDIS_HOST={NAME}-redis",
        "$IMG_PATH": str(images),
    }  # fmt: skip
    text = found.group(0).replace("\\\n", " ")
    for mine, others in own.items():
        assert mine in text
        text = text.replace(mine, others)
    words = text.replace("--hostname=band", f"--hostname={NAME}-band").split()
    return [
        *words[1:-1],
        "-e",
        f"BAND_NAMESPACE={NAME}",
        "-e",
        "BAND_PORTS=8760-8779",
        "-e",
        "BAND_PORT_CHECK=5",
        words[-1],
    ]


@pytest.fixture(scope="module", autouse=True)
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run a Redis and the director, as the README says."""
    remove_everything()
    images = tmp_path_factory.mktemp("images")
    for collection in ("band_collection", "band"):
        (images / collection).mkdir()
    readme_service(images / "band_collection")
    front_on_another_port(images / "band_collection")
    for folder in ORIGINALS:
        shutil.copytree(ROOT / "tests" / "interop" / "services" / folder, images / "band" / folder)
    redis_image = docker(
        "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=rockstat/redis"
    ).split()[0]
    docker("network", "create", "--label", f"band.namespace={NAME}", NAME)
    redis = ["redis-server", "--save", "", "--appendonly", "no", "--protected-mode", "no"]
    docker("run", "-d", "--name", f"{NAME}-redis", "--network", NAME, redis_image, *redis)
    docker(*readme_command(images))
    until(lambda: ask(f"{DIRECTOR}/health"), 60)
    yield
    remove_everything()


def test_the_readmes_service_runs_and_answers() -> None:
    """/run/<name> answers exactly three things once the service is ready; its method can be called."""
    assert sorted(ask(f"{DIRECTOR}/run/weekday")) == ["name", "short_id", "state"]
    assert ask(f"{DIRECTOR}/call/weekday/enrich?key=x")["weekday"].endswith("day")
    begun = time.monotonic()
    again = ask(f"{DIRECTOR}/run/weekday")
    assert again["state"] == "running"
    # A bound against building anew, not a measurement: a build takes several times as long.
    assert time.monotonic() - begun < 10


def test_a_port_of_the_hosts_loopback_is_tried_from_the_directors_container() -> None:
    """By a small container in the host's network that is gone afterwards; a dead port is put right."""

    def port() -> int:
        return next(row["ports"][0]["host"] for row in ask(f"{DIRECTOR}/list") if row["name"] == "weekday")

    assert ask(f"{DIRECTOR}/run/weekday")["state"] == "running"
    until(lambda: docker("inspect", "-f", "{{.State.Health.Status}}", f"{NAME}-weekday") == "healthy", 60)
    time.sleep(10)
    dead = port()
    end_proxy(dead)
    until(lambda: port() != dead, 60)
    restarts = 'band_service_port_restarts_total{service="weekday"} 1.0'
    with urllib.request.urlopen(f"{DIRECTOR}/metrics", timeout=20) as answer:
        assert restarts in answer.read().decode()
    until(lambda: not docker("ps", "-aq", "--filter", "label=band.kind=port-check"), 20)


def test_another_container_only_reads_without_a_token() -> None:
    """The host's connections come from the gateway, as all other tests show; a neighbour's from its own address."""
    program = """
import sys, urllib.error, urllib.request
for path in sys.argv[2:]:
    try:
        print(urllib.request.urlopen(sys.argv[1] + path).status)
    except urllib.error.HTTPError as error:
        print(error.code, "BAND_TOKEN" in error.read().decode())
"""
    paths = ["/list", "/metrics", "/run/weekday", "/call/weekday/enrich", "/prune?apply=1"]
    python = ["run", "--rm", "--network", NAME, "--entrypoint", "python", "rst/band", "-c", program]
    said = docker(*python, f"http://{NAME}-band:8080", *paths).split("\n")
    assert said == ["200", "200", "403 True", "403 True", "403 True"]


def test_a_director_with_a_token_is_healthy() -> None:
    """Docker asks as setup has it asked, without the token; everything else needs it."""
    options = yaml.safe_load((ROOT / "roles/director/vars/main.yml").read_text(encoding="utf-8"))[
        "_band_director_options"
    ]
    health = next(option for option in options if option.startswith("--health-cmd="))
    name = f"{NAME}-token"
    docker("rm", "-f", name, check=False)
    docker(
        "run", "-d", f"--name={name}", "--network", NAME, "-p", "10992:8080", "-e", f"REDIS_HOST={NAME}-redis",
        "-v", "/var/run/docker.sock:/var/run/docker.sock", "-e", f"BAND_NAMESPACE={name}", "-e", f"BAND_TOKEN={TOKEN}",
        health, "--health-interval=1s", "--health-retries=1", "rst/band",
    )  # fmt: skip
    try:
        until(lambda: docker("inspect", "-f", "{{.State.Health.Status}}", name) == "healthy", 60)
        assert isinstance(ask("http://127.0.0.1:10992/list", headers={"X-Band-Token": TOKEN}), list)
        with pytest.raises(AssertionError, match="403"):
            ask("http://127.0.0.1:10992/list")
        assert docker("inspect", "-f", "{{.State.Health.Status}}", name) == "healthy"
    finally:
        docker("rm", "-f", name)


def test_an_event_is_enriched_kept_and_delivered_once() -> None:
    """From HTTP through the README's enricher and uaparser into the stream, and to the double of Mixpanel."""
    for name in ("front", "weekday", "uaparser", "mixpanel_double"):
        assert ask(f"{DIRECTOR}/run/{name}")["state"] == "running"
    env = {"MIXPANEL_TOKEN": TOKEN, "MIXPANEL_URL": f"http://{NAME}-mixpanel_double:8080"}
    assert ask(f"{DIRECTOR}/run/send_mixpanel", {"env": env})["state"] == "running"
    until(lambda: len([row for row in ask(f"{DIRECTOR}/registrations")["register"] if row["role"] == "enricher"]) >= 2)

    def enriched() -> Any:
        sent = ask(f"{FRONT}/track/signup.json", {"plan": "pro"}, headers={"User-Agent": UA})
        kept = next(
            row["event"] for row in ask(f"{DIRECTOR}/events?limit=5")["events"] if row["event"]["id"] == sent["id"]
        )
        return kept if {"weekday", "uaparser"} <= kept["data"].keys() else None

    event = until(enriched)
    assert event["data"]["plan"] == "pro"
    assert event["data"]["weekday"]["weekday"].endswith("day")
    assert event["data"]["uaparser"]["is_mob"] == 1
    stored = until(lambda: ask(f"{DIRECTOR}/call/mixpanel_double/stats").get("unique"))
    assert stored >= 1


def test_services_of_the_original_are_built_and_join_ours() -> None:
    """Both forms of its Dockerfile build on our base; alias, time-out, enricher and listener work with our front."""
    for name in ["front", *ORIGINALS]:
        assert ask(f"{DIRECTOR}/run/{name}")["state"] == "running", name
    until(lambda: ask(f"{FRONT}/go/hello") == {"wild": "hello"})
    assert ask(f"{FRONT}/go/slow") == {"slow": True}
    with pytest.raises(AssertionError, match=r"404 .*not here"):
        ask(f"{FRONT}/go/missing")

    def enriched() -> Any:
        sent = ask(f"{FRONT}/track/page.json", {"sess": {"num": 3}}, headers={"User-Agent": UA})
        rows = ask(f"{DIRECTOR}/events?limit=5")["events"]
        return next(row["event"] for row in rows if row["event"]["id"] == sent["id"])["data"].get("uadetect")

    assert until(enriched) == {"is_bot": 0, "length": len(UA), "url": "https://rock.st/docs/"}
    assert ["in.gen.track.page", 3] in [[row[0], row[2]] for row in ask(f"{DIRECTOR}/call/eventsink/seen")]


def test_a_killed_service_and_a_restarted_director_come_back() -> None:
    """`docker kill` of a service, and a restart of the director, end in the same services running."""
    ask(f"{DIRECTOR}/run/weekday")
    docker("kill", f"{NAME}-weekday")
    until(lambda: ask(f"{DIRECTOR}/call/weekday/enrich?key=x"), 15)
    before = sorted(service["name"] for service in ask(f"{DIRECTOR}/list"))
    docker("restart", f"{NAME}-band")
    until(lambda: sorted(service["name"] for service in ask(f"{DIRECTOR}/list")) == before, 30)


def test_the_token_is_seen_nowhere() -> None:
    """The secret given with the env is in no answer and no log."""
    for path in ("list", "show/send_mixpanel", "logs/send_mixpanel", "state"):
        with urllib.request.urlopen(f"{DIRECTOR}/{path}", timeout=30) as answer:
            assert TOKEN not in answer.read().decode()
    assert TOKEN not in docker("logs", f"{NAME}-band")
