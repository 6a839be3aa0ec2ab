"""The modules do what they say: their examples run, check mode changes nothing, a second run finds nothing to do."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("band_*.py"))
ACTIONS = {path.stem for path in (ROOT / "plugins" / "action").glob("band_*.py")}
RUNNER = """
import runpy, sys
from ansible.module_utils import basic
basic._ANSIBLE_PROFILE = "legacy"
runpy.run_module("ansible_collections.rockstat.band.plugins.modules." + sys.argv.pop(1), run_name="__main__")
"""
SECRETS = {"mixpanel_token": "canary-token-1", "mixpanel_api_secret": "canary-secret-2"}
DIRECTORS = {"band_services", "band_service_info", "band_event", "band_prune"}


def fake_director() -> Any:
    """Return a new director of tests/unit/fake_director.py."""
    spec = importlib.util.spec_from_file_location("fake_director", Path(__file__).with_name("fake_director.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FakeDirector()


@pytest.fixture
def director() -> Iterator[Any]:
    """A director and a front at one address."""
    one = fake_director()
    yield one
    one.close()


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    """A folder with a docker client whose engine is a file in it."""
    shutil.copy(Path(__file__).with_name("fake_docker.py"), tmp_path / "docker")
    (tmp_path / "docker").chmod(0o755)
    return tmp_path


def text_of(module: str, name: str, kind: str = "modules") -> Any:
    """Return DOCUMENTATION, EXAMPLES or RETURN of a module or a fragment, read as YAML."""
    tree = ast.parse((ROOT / "plugins" / kind / f"{module}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return yaml.safe_load(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no {name}")


def options_of(doc: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a DOCUMENTATION, with those of the fragments that it extends."""
    options = dict(doc.get("options") or {})
    for fragment in doc.get("extends_documentation_fragment", []):
        name = fragment.removeprefix("rockstat.band.")
        options |= text_of(name, "DOCUMENTATION", "doc_fragments")["options"]
    return options


def run(module: str, args: dict[str, Any], *, check: bool = False, path: Path | None = None) -> dict[str, Any]:
    """Run a module as Ansible does, with diff mode on; return what it said, and the raw text as `_text`."""
    given = {"ANSIBLE_MODULE_ARGS": {**args, "_ansible_check_mode": check, "_ansible_diff": True}}
    env = {**os.environ, "PYTHONPATH": str(ROOT / "collections")}
    if path:
        env["PATH"] = f"{path}:{env['PATH']}"
    command = [sys.executable, "-c", RUNNER, module]
    done = subprocess.run(
        command, input=json.dumps(given), capture_output=True, text=True, env=env, timeout=50, check=False
    )
    assert done.stdout.strip(), done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return {**said, "_text": done.stdout}


def examples() -> list[tuple[str, str, dict[str, Any]]]:
    """Return every example that speaks with a director: module, title, arguments."""
    found = []
    for module in sorted(DIRECTORS):
        for task in text_of(module, "EXAMPLES"):
            text = jinja2.Template(yaml.safe_dump(task[f"rockstat.band.{module}"])).render(SECRETS)
            found.append((module, task["name"], yaml.safe_load(text)))
    return found


def one(director: Any, state: str = "running", **more: Any) -> dict[str, Any]:
    """Return the arguments of band_services for front alone, which runs."""
    args = prepared(director, "band_services", {"wait": True})
    return {**args, "services": [{"name": "front", "state": state, **more}]}


def prepared(director: Any, module: str, args: dict[str, Any]) -> dict[str, Any]:
    """Have the services run that an example speaks of; return its arguments with the director's address."""
    for name in ("front", "mmgeo", "sxgeo", "uaparser", str(args.get("name", "front"))):
        director.answer(f"/run/{name}", {"env": {"OLD": "1"}})
    director.asked.clear()
    front = {"front_url": director.url} if module == "band_event" else {}
    return {**args, "url": director.url, **front}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_documents_what_it_takes(module: str) -> None:
    """Options, examples and check mode are described, and each example names options that there are."""
    doc = text_of(module, "DOCUMENTATION")
    assert doc["module"] == module
    assert doc["attributes"]["check_mode"]["support"] in ("full", "partial")
    tasks, options = text_of(module, "EXAMPLES"), options_of(doc)
    assert tasks
    for task in tasks:
        args = task[f"rockstat.band.{module}"] or {}
        assert set(args) <= set(options), task["name"]
        required = {name for name, option in options.items() if option.get("required")}
        assert required <= set(args), task["name"]


@pytest.mark.parametrize(("module", "title", "args"), examples(), ids=lambda value: str(value)[:40])
def test_examples_run_and_check_mode_tells_the_truth(
    director: Any, module: str, title: str, args: dict[str, Any]
) -> None:
    """An example works as it stands; check mode said before whether it would change something, and changed nothing."""
    args = prepared(director, module, args)
    told = run(module, args, check=True)
    assert not told.get("failed"), f"{title}: {told}"
    assert director.changing == []
    done = run(module, args)
    assert not done.get("failed"), f"{title}: {done}"
    assert done["changed"] == told["changed"]
    for secret in SECRETS.values():
        assert secret not in told["_text"] + done["_text"]


OTHERS = sorted(set(MODULES) - DIRECTORS - ACTIONS)
# These do nothing outside of the folders and the client that a test gives them.
HARMLESS = {"band_erase", "band_exposure", "band_footprint", "band_restore", "band_support"}


def laid(folder: Path, docker: Path) -> None:
    """Lay what examples speak of: an archive, an unpacked bundle, a container and a volume."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.rockstat.band.plugins.module_utils import archive

    backups, bundle, content = (folder / "srv/rockstat" / name for name in ("backups", "bundle", "content"))
    for made in (backups, bundle, content):
        made.mkdir(parents=True)
    (content / "redis.rdb").write_bytes(b"REDIS0011")
    archive.pack(str(content), str(backups / "rockstat-20261124T020000Z.tar.gz"), {"namespace": "rockstat"})
    (bundle / "manifest.json").write_text(json.dumps({"images": {}, "volumes": []}))
    (folder / "root").mkdir()
    mine = {"Id": "x", "Name": "/sxgeo", "State": {"Running": True}, "Config": {"Image": "a", "Labels": {}}}
    engine = {"containers": {"sxgeo": mine}, "volumes": ["rockstat-sxgeo-data"], "calls": []}
    (docker / "engine.json").write_text(json.dumps(engine))


@pytest.mark.parametrize("module", OTHERS)
def test_examples_of_the_other_modules_run(module: str, docker: Path, tmp_path: Path) -> None:
    """In check mode each works as it stands and removes or writes nothing; the harmless ones then do what they said."""
    laid(tmp_path / "host", docker)
    for task in text_of(module, "EXAMPLES"):
        text = jinja2.Template(yaml.safe_dump(task[f"rockstat.band.{module}"])).render(vault_backup_passphrase="")
        for place in ("/srv/", "/var/tmp/", "/root/"):
            text = text.replace(f" {place}", f" {tmp_path}/host{place}")
        args = yaml.safe_load(text)
        before = sorted(path for path in tmp_path.rglob("*") if path.name != "engine.json")
        told = run(module, args, check=True, path=docker)
        assert not told.get("failed"), f"{task['name']}: {told}"
        assert sorted(path for path in tmp_path.rglob("*") if path.name != "engine.json") == before
        assert json.loads((docker / "engine.json").read_text())["containers"].keys() == {"sxgeo"}
        if module in HARMLESS:
            done = run(module, args, path=docker)
            assert not done.get("failed"), f"{task['name']}: {done}"
            assert done["changed"] == told["changed"]


@pytest.mark.timeout(240)  # several runs of Ansible
def test_examples_of_what_works_on_the_controller_run(tmp_path: Path) -> None:
    """band_settings and band_sources are actions: their examples run in a play, and check mode said what they did."""
    tasks = [task for module in sorted(ACTIONS) for task in text_of(module, "EXAMPLES")]
    text = yaml.safe_dump(tasks, width=1000).replace("/srv/rockstat", f"{tmp_path}/rockstat")
    for name in ("roles/base_image", "band_images/one", "service_src/one"):
        (tmp_path / "collection" / name).mkdir(parents=True)
        (tmp_path / "collection" / name / "file").write_text(name)
    role_path = str(tmp_path / "collection" / "roles" / "base_image")
    play = {"hosts": "localhost", "gather_facts": False, "vars": {"role_path": role_path}}
    playbook = tmp_path / "examples.yml"
    playbook.write_text(yaml.safe_dump([{**play, "tasks": yaml.safe_load(text)}]), encoding="utf-8")
    recaps, renewed = [], []
    for options in (["--check"], [], [], ["--check"]):
        if len(recaps) == 3:
            (tmp_path / "collection" / "service_src" / "one" / "file").write_text("another")
        command = [str(Path(sys.executable).parent / "ansible-playbook"), str(playbook), "-v", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        recaps.append(done.stdout.split("changed=")[-1].split()[0])
        renewed.append(re.findall(r"^    - (\S+)$", done.stdout, re.MULTILINE))
        assert (tmp_path / "rockstat" / "source").is_dir() is (len(recaps) > 1)
    assert recaps == ["1", "1", "0", "1"]
    # What a change is about: each image is made of some of the folders.
    assert renewed == [*[["band_images/one", "service_src/one"]] * 2, [], ["service_src/one"]]


def test_check_mode_knows_what_new_sources_will_change(director: Any, docker: Path) -> None:
    """The host's sources are the old ones then: images and services of renewed folders are said to be built."""
    image = {"name": "rockstat/redis", "context": [{"text": "FROM scratch", "dest": "Dockerfile"}], "renewed": True}
    told = run("band_image", image, check=True, path=docker)
    assert (told["changed"], told["image"]) == (True, "rockstat/redis:renewed")
    args = prepared(director, "band_services", {})
    wanted = [{"name": name, "env": {"OLD": "1"}} for name in ("front", "uaparser")]
    given = {**args, "services": wanted, "renewed": ["uaparser"]}
    run("band_services", given)
    director.asked.clear()
    assert run("band_services", given, check=True)["actions"] == {"front": "nothing", "uaparser": "build"}
    assert director.changing == []
    assert run("band_services", given)["actions"] == {"front": "nothing", "uaparser": "nothing"}


def test_what_is_gone_is_removed_once(docker: Path, tmp_path: Path) -> None:
    """Check mode counts what is there; after it is gone the same call finds nothing to do."""
    laid(tmp_path / "host", docker)
    args = {"containers": ["sxgeo", "nobody"], "volumes": ["rockstat-sxgeo-data"]}
    told = run("band_erase", args, check=True, path=docker)
    assert told["diff"]["before"] == "container: sxgeo\nvolume: rockstat-sxgeo-data\n"
    assert run("band_erase", args, path=docker)["changed"] is True
    assert run("band_erase", args, path=docker)["changed"] is False


@pytest.mark.parametrize(("address", "seen"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_the_ports_of_the_proxy_are_told(address: str, docker: Path, tmp_path: Path, *, seen: bool) -> None:
    """A port of nginx' configuration that is listened on beyond loopback can be reached, and was asked for."""
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        conf = tmp_path / "rockstat.conf"
        conf.write_text(f"server {{\n    listen {port} ssl;\n    listen [::]:{port} ssl;\n    listen 1;\n}}\n")
        done = run("band_exposure", {"proxy": str(conf)}, path=docker)
    assert done["open"] == ([{"container": "nginx", "address": "0.0.0.0", "port": port}] if seen else [])
    assert done["unexpected"] == []


def test_a_port_beyond_loopback_is_told_whatever_the_firewall_says(tmp_path: Path) -> None:
    """Docker's rules come before those of UFW: the warning names the port and the firewall that does not stop it."""
    bindings = {"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "10000"}], "1/tcp": [{"HostIp": "127.0.0.1"}]}
    inspected = json.dumps([{"Name": "/director", "HostConfig": {"PortBindings": bindings}}])
    scripts = {"docker": f"[ \"$2\" = ls ] && echo id || echo '{inspected}'", "ufw": "echo 'Status: active'"}
    for name, text in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = run("band_exposure", {"proxy": "/nonexistent"}, path=tmp_path)
    assert [row["port"] for row in done["unexpected"]] == [10000]
    assert "ufw" in done["firewalls"]
    assert "director can be reached from outside on 0.0.0.0:10000 (ufw" in done["_text"]
    meant = run("band_exposure", {"proxy": "/nonexistent", "intended": [10000]}, path=tmp_path)
    assert (len(meant["open"]), meant["unexpected"]) == (1, [])


def test_a_support_bundle_shows_no_secret_of_a_service(tmp_path: Path) -> None:
    """By its name as the director knows it, or declared in band.yml: hidden in the environment and in every log."""
    labels = {"band.kind": "service", "band.spec": json.dumps({"name": "x", "secrets": ["MOTTO"]})}
    env = ["MYPASS=first-canary", "MOTTO=second canary", "NOTE=third-canary", "PORT=8080"]
    core = {"Name": "/director", "Config": {"Env": ["BAND_PORTS=8900-8999"], "Labels": {"band.kind": "core"}}}
    inspected = json.dumps([{"Name": "/x", "Config": {"Env": env, "Labels": labels}}, core])
    (tmp_path / "docker").write_text(
        f"#!/bin/sh\n[ $1$2 = containerls ] && echo id; [ $1$2 = containerinspect ] && echo '{inspected}'\n"
        '[ $1 = logs ] && echo "with first-canary, second+canary second%20canary second canary"\nexit 0\n'
    )
    (tmp_path / "docker").chmod(0o755)
    dest, settings = tmp_path / "bundle.tar.gz", {"band_services": [{"name": "y", "env": {"MOTTO": "third-canary"}}]}
    args = {"dest": str(dest), "home": str(tmp_path), "settings": settings, "url": "http://127.0.0.1:1"}
    assert "containers.json" in run("band_support", args, path=tmp_path)["names"]
    with tarfile.open(dest) as tar:
        texts = {entry.name.split("/", 1)[1]: tar.extractfile(entry).read().decode() for entry in tar}  # type: ignore[union-attr]
    assert "with [redacted], " in texts["logs/x.log"]
    for word in ("first-canary", "second canary", "second%20canary", "second+canary", "third-canary"):
        assert word not in "".join(texts.values()), word
    assert "MYPASS=" in texts["containers.json"]
    assert "BAND_PORTS=8900-8999" in texts["containers.json"]


def test_a_second_run_finds_nothing_to_do(director: Any) -> None:
    """Running, stopped and absent are states: reached once, they are left alone."""
    for state in ("running", "stopped", "absent"):
        args = one(director, state, env={"LOG_LEVEL": "DEBUG"})
        assert run("band_services", args)["changed"] is True
        assert run("band_services", args)["changed"] is False


def test_a_service_that_runs_elsewhere_is_none_of_the_hosts(director: Any) -> None:
    """One that only announces itself is absent already, and is not told to stop."""
    args = one(director, "absent")
    director.services["front"] = {"name": "front", "state": "external", "wanted": "unknown", "health": "ok"}
    assert run("band_services", args)["changed"] is False
    assert director.changing == []


def test_a_rollback_goes_where_the_director_says_and_no_further(director: Any) -> None:
    """It chooses, in check mode too; the current release is nothing to do, an unknown one an error."""
    args = one(director, "rolled_back")
    checked = run("band_services", args, check=True)
    assert director.changing == []
    done = run("band_services", args)
    for told in (checked, done):
        assert told["before"] == {"front": "aaaaaaaaaaaa (0123456789ab)"}
        assert told["after"] == {"front": "aaaaaaaaaaaa (ba9876543210)"}
    assert director.changing == ["/rollback/front"]

    def named(release: str) -> dict[str, Any]:
        return {**args, "services": [{"name": "front", "state": "rolled_back", "release": release}]}

    assert run("band_services", named("ba9876543210"))["changed"] is False
    assert "has no release" in run("band_services", named("ffffffffffff"))["msg"]


def test_a_rollback_never_goes_forward(director: Any) -> None:
    """The release before the current one went bad, a later one is good: there is nothing to go back to."""
    args = one(director, "rolled_back")
    director.current["front"] = "ba9876543210"
    assert "no earlier good release" in run("band_services", args)["msg"]
    assert director.current["front"] == "ba9876543210"


def test_check_mode_shows_the_services_of_a_host_without_a_director() -> None:
    """A first set-up's diff names each service that would run, with the names of its settings and no value."""
    wanted = [{"name": "front", "env": {"KEY": "canary-value"}}, {"name": "old", "state": "absent"}]
    done = run("band_services", {"url": "http://127.0.0.1:1", "services": wanted}, check=True)
    assert done["actions"] == {"front": "start", "old": "nothing"}
    assert [one["before_header"] for one in done["diff"]] == ["front"]
    assert "env: KEY" in done["diff"][0]["after"]
    assert "canary" not in done["_text"]


def test_services_before_a_failed_one_go_back(director: Any) -> None:
    """What this call replaced returns to its release, and the error carries the failed one's last words."""
    args = prepared(director, "band_services", {})
    director.current["front"] = "ba9876543210"
    director.broken.add("mmgeo")
    wanted = [{"name": "front", "env": {"NEW": "2"}}, {"name": "mmgeo", "env": {"NEW": "2"}}, {"name": "uaparser"}]
    done = run("band_services", {**args, "services": wanted, "rollback": True})
    assert done["failed"]
    assert "its last word" in done["msg"]
    assert "front went back to release aaaaaaaaaaaa (ba9876543210)" in done["msg"]
    assert director.current["front"] == "ba9876543210"
    assert not any(path.startswith("/run/uaparser") for path in director.changing)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("rolled back by request", "front: release 3f2a was rolled back by request, so it is not deployed again until"),
        ("exited with code 3", "front: release 3f2a was rolled back (exited with code 3), so it is not deployed again"),
    ],
)
def test_a_release_that_was_rolled_back_is_told_of_once(director: Any, reason: str, said: str) -> None:
    """setup leaves it alone and says in a sentence why, and until when."""
    args = prepared(director, "band_services", {})
    director.held["front"] = {"id": "3f2a", "reason": reason}
    done = run("band_services", {**args, "services": [{"name": "front"}]})
    assert said in done["_text"]
    assert director.changing == []


def test_prune_leaves_what_was_run_by_hand_and_the_demo(director: Any, tmp_path: Path) -> None:
    """What an inventory named and does not any more goes; the rest is told, and goes when it is named."""
    record = {"record": str(tmp_path / "services.json")}
    args = prepared(director, "band_services", {})
    wanted = [{"name": name, "env": {"OLD": "1"}} for name in ("front", "uaparser", "mixpanel_double")]
    assert not run("band_services", {**args, "services": wanted, "demo": ["mixpanel_double"], **record}).get("failed")
    director.answer("/run/weekday", {})
    director.services["elsewhere"] = {"name": "elsewhere", "state": "external", "wanted": "unknown", "health": "ok"}
    look = {"url": director.url, "keep": ["front", "mmgeo", "sxgeo"], **record}
    found = run("band_prune", look)
    assert (found["services"], found["by_hand"], found["demo"]) == (["uaparser"], ["weekday"], ["mixpanel_double"])
    assert run("band_prune", {**look, "apply": True}, check=True)["changed"] is True
    assert "uaparser" in director.services
    done = run("band_prune", {**look, "apply": True, "also": ["weekday"]})
    assert done["services"] == ["uaparser", "weekday"]
    assert set(director.services) == {"front", "mmgeo", "sxgeo", "mixpanel_double", "elsewhere"}
    assert run("band_prune", look)["services"] == []
    # Without a record, as on a host of an earlier version, nobody knows who ran what.
    assert run("band_prune", {**look, "record": str(tmp_path / "none")})["by_hand"] == ["mixpanel_double"]


def test_a_redis_that_takes_no_writes_ends_the_proof_within_seconds(director: Any) -> None:
    """Nothing that is waited for would change it: the reason and the advice are the error."""
    refusal = "it refuses writes (OOM command not allowed); raise band_redis_maxmemory"
    director.redis = {"status": "failing", "reason": refusal}
    args = prepared(director, "band_event", {"ip": "77.88.8.8", "user_agent": "x", "timeout": 300})
    begun = time.monotonic()
    done = run("band_event", args)
    assert done["failed"]
    assert f"Redis is failing: {refusal}" in done["msg"]
    assert time.monotonic() - begun < 25


def test_a_front_that_refuses_events_ends_the_proof_within_seconds(director: Any) -> None:
    """A full journal does not empty itself while the set-up waits; what front answers is in the error."""
    director.full = "the journal is full"
    args = prepared(director, "band_event", {"ip": "77.88.8.8", "user_agent": "x", "timeout": 300})
    begun = time.monotonic()
    done = run("band_event", args)
    assert done["failed"]
    assert "front refuses every event with 503 (the journal is full)" in done["msg"]
    assert time.monotonic() - begun < 35


def test_an_enricher_that_only_says_why_not_is_missed(director: Any) -> None:
    """A geo service without a database answers with a reason: that is no data, and the error quotes it."""
    director.enriched["mmgeo"] = {"reason": "no database yet"}
    args = prepared(director, "band_event", {"ip": "77.88.8.8", "user_agent": "x", "enrichers": ["mmgeo", "uaparser"]})
    done = run("band_event", {**args, "timeout": 1})
    assert done["failed"]
    assert "carries no data of mmgeo (no database yet)" in done["msg"]


def container(image: str, **more: Any) -> dict[str, Any]:
    """Return what band_container is told."""
    return {
        "name": "redis",
        "image": image,
        "watched": False,
        "ready_command": ["redis-health"],
        "ready_timeout": 1,
        **more,
    }


def test_a_container_is_replaced_only_when_it_differs(docker: Path) -> None:
    """The label says whether it is what it should be: the second call does nothing, another limit replaces it."""
    assert run("band_container", container("redis:1"), check=True, path=docker)["action"] == "create"
    assert run("band_container", container("redis:1"), path=docker)["action"] == "create"
    assert run("band_container", container("redis:1"), path=docker)["changed"] is False
    told = run("band_container", container("redis:1", options=["--memory=1g"]), check=True, path=docker)
    assert told["action"] == "replace"
    assert "--memory=1g" in told["diff"]["after"]
    assert run("band_container", container("redis:1", options=["--memory=1g"]), path=docker)["action"] == "replace"


def test_a_container_that_does_not_answer_gives_way_to_the_one_of_before(docker: Path) -> None:
    """The new one's last words are the error, and the old one runs again under its name."""
    run("band_container", container("redis:1"), path=docker)
    done = run("band_container", container("redis:broken"), path=docker)
    assert done["failed"]
    assert done["rolled_back"] is True
    assert "its last word" in done["msg"]
    engine = json.loads((docker / "engine.json").read_text())["containers"]
    assert set(engine) == {"redis"}
    assert engine["redis"]["Config"]["Image"] == "redis:1"
    assert engine["redis"]["State"]["Running"]


def test_a_container_of_somebody_else_is_left_alone(docker: Path) -> None:
    """Without our label it is not ours, whatever it is called."""
    theirs = {"Id": "x", "Name": "/redis", "State": {"Running": True}, "Config": {"Image": "redis:7", "Labels": {}}}
    (docker / "engine.json").write_text(json.dumps({"containers": {"redis": theirs}, "calls": []}))
    done = run("band_container", container("redis:1"), path=docker)
    assert done["failed"]
    assert "not ours" in done["msg"]
    assert json.loads((docker / "engine.json").read_text())["containers"]["redis"] == theirs


def resumed(director: Any, tmp_path: Path, manifest: dict[str, Any], contents: dict[str, str] | None = None) -> str:
    """Run the last step of a restore against a director; what Ansible said."""
    role = {"name": "rockstat.band.backup", "tasks_from": "resume"}
    given = {"band_backup_director_url": director.url, "__band_backup_archive": {"manifest": manifest}}
    play = {"hosts": "localhost", "gather_facts": False, "vars": given}
    path = tmp_path / "resume.yml"
    path.write_text(json.dumps([{**play, "tasks": [{"ansible.builtin.include_role": role}]}]), encoding="utf-8")
    mine = {"band.managed": "true", "band.namespace": "rockstat", "band.kind": "service", "band.config": "x"}
    made = [
        {"Name": f"/{name}", "Image": "x", "State": {"Status": "running"},
         "Config": {"Image": "x", "Labels": {**mine, "band.service": name, "band.contents": text}}}
        for name, text in (contents or {}).items()
    ]  # fmt: skip
    (tmp_path / "made.json").write_text(json.dumps(made))
    (tmp_path / "docker").write_text(
        f"#!/bin/sh\ncase $1$2 in version*) echo 26 ;; containerls) echo id ;; "
        f"containerinspect) cat {tmp_path}/made.json ;; esac\n"
    )
    (tmp_path / "docker").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), str(path)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_restore_runs_what_ran_and_tells_where_it_cannot(director: Any, tmp_path: Path) -> None:
    """No service goes to its folder's release by the restore; one whose image was not there is named."""
    for name, tag in (("front", "old"), ("ledger", "new"), ("mmgeo", "new")):
        image = f"rockstat/{name}:{tag}"
        director.services[name] = {"name": name, "wanted": "running", "state": "running", "image": image}
    images = {name: f"rockstat/{name}:old" for name in ("front", "ledger", "mmgeo", "redis")}
    manifest = {"namespace": "rockstat", "running": ["front", "ledger", "mmgeo"], "images": images}
    said = resumed(director, tmp_path, manifest)
    assert director.changing == ["/start/front", "/start/ledger", "/start/mmgeo"]
    assert "ledger: rockstat/ledger:new, at the backup rockstat/ledger:old\n" in said
    assert "mmgeo: rockstat/mmgeo:new, at the backup rockstat/mmgeo:old\n" in said
    assert "front: rockstat" not in said
    assert "\\n" not in said


def test_a_restore_onto_the_same_images_ends_well(director: Any, tmp_path: Path) -> None:
    """Where each service runs the release of the backup there is nothing to tell."""
    director.services["front"] = {"name": "front", "wanted": "running", "state": "running", "image": "rockstat/front:a"}
    said = resumed(
        director, tmp_path, {"namespace": "rockstat", "running": ["front"], "images": {"front": "rockstat/front:a"}}
    )
    assert "another" not in said


def test_a_bare_host_runs_the_releases_of_the_backup_under_other_hashes(director: Any, tmp_path: Path) -> None:
    """An image's tag names its base, which is another one on another host: only other contents are another release."""
    for name in ("front", "ledger"):
        director.services[name] = {"name": name, "wanted": "running", "state": "running", "image": f"rockstat/{name}:b"}
    images = {name: f"rockstat/{name}:a" for name in ("front", "ledger")}
    manifest = {"namespace": "rockstat", "running": ["front", "ledger"], "images": images}
    contents = {"front": "same", "ledger": "before"}
    said = resumed(director, tmp_path, {**manifest, "contents": contents}, {**contents, "ledger": "after"})
    assert "ledger: rockstat/ledger:b, at the backup rockstat/ledger:a\n" in said
    assert "front: rockstat" not in said


def command(tmp_path: Path, **more: Any) -> dict[str, Any]:
    """Return arguments of band_command for a command that needs no library, so that nothing is fetched."""
    package = tmp_path / "source" / "src" / "band_cli"
    if not package.exists():
        package.mkdir(parents=True)
        (tmp_path / "source" / "requirements.txt").write_text("# nothing\n")
        (package / "__main__.py").write_text(
            "import os, sys\nprint(os.environ.get('_BAND_COMPLETE'), os.environ['BAND_HOST_CONFIG'], *sys.argv[1:])\n"
        )
    return {
        "source": str(tmp_path / "source"), "home": str(tmp_path / "cli"), "launcher": str(tmp_path / "bin" / "band"),
        "completions": {"bash": str(tmp_path / "bash" / "band")}, "url": "http://127.0.0.1:10000", **more,
    }  # fmt: skip


def test_the_command_is_installed_once_and_anew_when_it_changes(tmp_path: Path) -> None:
    """Check mode says what a run does, a second run does nothing, other sources and settings are noticed."""
    args = command(tmp_path)
    assert run("band_command", args, check=True)["installed"]
    assert not (tmp_path / "cli").exists()
    done = run("band_command", args)
    assert done.get("changed"), done
    said = subprocess.run([args["launcher"], "a b", "c"], capture_output=True, text=True, check=True).stdout
    assert said == f"None {tmp_path}/cli/band.conf a b c\n"
    assert (tmp_path / "bash" / "band").read_text().startswith("bash_source ")
    for check in (True, False):
        assert not run("band_command", args, check=check)["changed"]
    told = run("band_command", {**args, "token_file": "/etc/x"}, check=True)
    assert (told["installed"], told["written"]) == (False, [f"{tmp_path}/cli/band.conf"])
    run("band_command", {**args, "token_file": "/etc/x"})
    assert (tmp_path / "cli" / "band.conf").read_text().endswith("token_file = /etc/x\n")
    (tmp_path / "source" / "src" / "band_cli" / "more.py").write_text("")
    assert run("band_command", args)["installed"]


def test_a_strangers_command_stays(tmp_path: Path) -> None:
    """Another program of that name is not replaced; the message says what to set."""
    args = command(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "band").write_text("#!/bin/sh\n")
    said = run("band_command", args)
    assert said["failed"]
    assert "band_cli_launcher" in said["msg"]
    assert (tmp_path / "bin" / "band").read_text() == "#!/bin/sh\n"


def test_a_pip_that_cannot_install_is_told(tmp_path: Path) -> None:
    """What pip said, what to check, and that the platform works without; the next run tries again."""
    args = command(tmp_path, wheels=str(tmp_path))
    (tmp_path / "source" / "requirements.txt").write_text(f"click==0.0.1 --hash=sha256:{'0' * 64}\n")
    said = run("band_command", args)
    assert said["failed"]
    assert "band_cli_package_index" in said["msg"]
    assert run("band_command", args, check=True)["installed"]
