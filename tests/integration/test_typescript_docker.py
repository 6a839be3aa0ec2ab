"""Services in TypeScript, in the original's style and in ours, from their own folders, on a real Docker Engine."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from director_host import Director, docker, until

# The first of them builds what they stand on, out of Debian's mirror and the npm registry.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

NAMESPACE = "t-dir-ts"
PORTS = "8720-8749"
FOLDERS = Path(__file__).parent / "typescript"
SERVICES = ("agents", "greeter")


@pytest.fixture(scope="module")
def director(running: Director) -> Director:
    return running


def below() -> list[str]:
    """Return the tags of the images that such services stand on: the one of all, and the one with a compiler."""
    names = (f"{NAMESPACE}/base_ts", f"{NAMESPACE}/base_ts_build")
    return [
        tag for name in names for tag in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", name).split()
    ]


def container(service: str) -> str:
    return docker("ps", "-q", f"--filter=label=band.namespace={NAMESPACE}", f"--filter=label=band.service={service}")


def test_both_kinds_of_folder_run_on_one_base(director: Director) -> None:
    """`yarn link` with the original's classes and a native part, `npm link` with the functions: each base once."""
    for name in SERVICES:
        shutil.copytree(FOLDERS / name, director.images / name)
    assert below() == []
    with ThreadPoolExecutor() as pool:
        runs = [pool.submit(director.ok, f"/run/{name}") for name in SERVICES]
        assert [run.result()["state"] for run in runs] == ["running", "running"]
    assert len(below()) == 2
    for tag in below():
        assert director.log.read_text().count(f"image={tag}") == 2, "begun once, done once"
    assert director.ok("/call/agents/enrich?ua=Opera/9.80") == {"browser": "Opera"}
    assert director.ok("/call/greeter/greet?who=you") == {"hello": "you", "release": 1}
    assert director.ok("/call/greeter/enrich?ua=Opera") == {"length": 5}
    rows = {row["name"]: (row["title"], row["pos"]) for row in director.ok("/list") if row["name"] in SERVICES}
    assert rows == {"agents": ("Agents", "3x0"), "greeter": ("Greeter", "3x1")}


def test_its_health_check_is_the_packages_own(director: Director) -> None:
    """It asks the port where there is one, else over Redis; the service is an ordinary user's."""
    for name in SERVICES:
        found = json.loads(docker("inspect", container(name)))[0]["Config"]
        assert (found["Healthcheck"]["Test"], found["User"]) == (["CMD", "rockme", "check"], "10001:10001")
        assert '"ok"' in docker("exec", container(name), "rockme", "check")


@pytest.mark.parametrize("name", SERVICES)
def test_one_that_was_killed_comes_back(director: Director, name: str) -> None:
    """As every service does."""
    docker("kill", container(name))
    method = {"agents": "enrich", "greeter": "greet"}[name]
    until(lambda: director.ask(f"/call/{name}/{method}?ua=a&who=b")[0] == 200, 60)


def test_nothing_of_it_is_built_again_and_nothing_is_thrown_away(director: Director) -> None:
    """The tag holds what it is made of; it is no service, and stays for the next one."""
    before = below()
    assert director.ok("/run/greeter?dry_run=1")["would"] == "nothing"
    director.ok("/prune?apply=1")
    assert below() == before
    assert director.ask("/run/base_ts")[0] == 409


def test_a_type_error_fails_the_build_with_its_line(director: Director) -> None:
    """The release that ran goes on."""
    main = director.images / "greeter" / "src" / "main.ts"
    main.write_text(main.read_text().replace("start();", "const lines: number = `many`;\nstart();\n"))
    status, body = director.ask("/run/greeter")
    assert (status, body["error"]["code"]) == (502, "build_failed")
    assert "npm run build" in body["error"]["message"]
    assert any("src/main.ts(7,7): error TS2322" in line for line in body["error"]["log"]), body["error"]["log"]
    assert director.ok("/call/greeter/greet")["hello"] == "world"
