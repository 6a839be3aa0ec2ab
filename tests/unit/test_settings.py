"""What is said of settings and hosts before anything is touched: the guard, validate, the services as data."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from plays import ROOT, ansible, playbook, tasks_in

from director.settings import DirectorSettings

GUARD_FAILS = ("band_dirctor_memory=1", "band_director_memory"), ("band_redis_port=1", "band_redis_host_port")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def validated(role: str, given: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a role's validate with these variables."""
    task = {"ansible.builtin.include_role": {"name": f"rockstat.band.{role}", "tasks_from": "validate"}}
    path = folder / "validated.yml"
    play = {"hosts": "localhost", "gather_facts": False, "vars": given, "tasks": [task]}
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    return ansible("ansible-playbook", str(path))


@pytest.mark.parametrize(("given", "nearest"), GUARD_FAILS)
def test_an_unknown_setting_is_refused_with_the_nearest_name(given: str, nearest: str) -> None:
    """A slip of the pen in a variable ends validate.yml before anything else."""
    done = ansible("ansible-playbook", "playbooks/validate.yml", "-e", given)
    assert done.returncode != 0
    assert nearest in done.stdout + done.stderr


WRONG = {
    "band_port": (70000, "is 70000, and has to be a port"),
    "band_proxy_https_port": (0, "is 0, and has to be a port"),
    "band_listen": ("everywhere", "is 'everywhere', and has to be an IP address"),
    "band_redis_maxmemory": ("lots", "is 'lots', and has to be a size such as 512mb"),
    "band_director_memory": ("1.5 GB", "is '1.5 GB', and has to be a size"),
    "band_docker_start_timeout": (0, "is 0, and has to be a number of seconds above 0"),
    "band_backup_keep": ("some", "is 'some', and has to be a whole number"),
    "band_services": ("front", "is 'front', and has to be a list"),
    "band_director_env": ("A=1", "is 'A=1', and has to be a mapping"),
    "band_redis_appendfsync": ("no", "is 'no', and has to be one of always, everysec"),
    "band_projects": ([{"id": "shop", "origin": []}], "(shop) has no origin. Did you mean origins?"),
    "webhook_secrets": ("whsec_canary", "webhook_secrets has to be a mapping"),
    "mixpanel_tokn": ("x", "is not a variable of this collection. Did you mean mixpanel_token?"),
    "telegram_token": ("x", "is not a variable of this collection. Did you mean telegram_bot_token?"),
}


def test_every_wrong_setting_is_told_once_under_the_name_that_was_set() -> None:
    """All of them in one message, none in the words of Ansible's filters, none by a role's own name for it."""
    given = {name: value for name, (value, _said) in WRONG.items()}
    done = ansible("ansible-playbook", "playbooks/validate.yml", "-e", json.dumps(given))
    assert done.returncode != 0
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith((*WRONG, "band_"))]
    names = [line.split()[0].partition("[")[0] for line in lines]
    assert sorted({*names}) == sorted(WRONG)
    assert len(set(lines)) == len(WRONG)
    for name, line in zip(names, lines, strict=True):
        assert WRONG[name][1] in line
    assert "filter" not in done.stdout
    assert "canary" not in done.stdout + done.stderr


def test_a_name_of_ones_own_is_no_slip_of_the_pen() -> None:
    """A vault's variable may be called nearly as one of ours, and so may what leads to one of ours that is set."""
    own = {"vault_mixpanel_token": "a", "my_mixpanel_token": "b", "mixpanel_token": "{{ my_mixpanel_token }}"}
    options = ("--skip-tags", "host", "-e", json.dumps({**own, "mixpanel_project": "c"}))
    done = ansible("ansible-playbook", "playbooks/validate.yml", *options)
    assert done.returncode == 0, done.stdout


def test_the_guard_reads_inventory_variables_too(tmp_path: Path) -> None:
    """A variable of an inventory file is refused as one of the command line is."""
    inventory = tmp_path / "hosts.yml"
    host = {"ansible_connection": "local", "band_servces": [], "band_docker_install": "yes"}
    inventory.write_text(yaml.safe_dump({"band": {"hosts": {"here": host}}}), encoding="utf-8")
    done = ansible("ansible-playbook", "-i", str(inventory), "playbooks/validate.yml")
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Did you mean band_services?" in said
    assert "band_docker_install is 'yes', and has to be true or false" in said


def test_the_defaults_pass_the_guard() -> None:
    """What we ship is not refused, and asks for nothing that Ansible gives up."""
    done = ansible("ansible-playbook", "playbooks/validate.yml", "--skip-tags", "host")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "DEPRECATION" not in said
    assert "WARNING" not in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"band_token": "short"}, "band_token has 5 characters"),
        ({"band_token": "short", "band_listen": "0.0.0.0"}, "band_token has 5 characters"),
        ({"band_token": " " * 16}, "band_token has 0 characters"),
        ({"band_listen": "0.0.0.0"}, "so other machines could run containers here"),
        ({"band_token": "sixteen-or-more-"}, ""),
        ({"band_token": ""}, ""),
    ],
)
def test_a_token_is_long_wherever_the_director_listens(given: dict[str, str], said: str, tmp_path: Path) -> None:
    """On loopback too: a token that is set has 16 characters or more; the message does not show it."""
    done = validated("director", given, tmp_path)
    assert (done.returncode != 0) is bool(said), done.stdout
    assert said in " ".join(done.stdout.split())
    assert not said or "short" not in done.stdout.replace("that short", "")


@pytest.mark.parametrize(
    ("role", "given", "said"),
    [
        ("redis", {"band_redis_anonymous": True, "band_redis_host_port": 6379}, "(6379) has to be 0: that port"),
        ("redis", {"band_redis_anonymous": True}, ""),
        ("redis", {"band_redis_memory": "512m"}, "band_redis_memory (512m) has to exceed band_redis_maxmemory (512mb)"),
        ("director", {"band_front_port": 8950}, "and band_front_port (8950) two ports outside of it"),
        ("director", {"band_front_port": 10000}, "band_port (10000) and band_front_port (10000) two ports"),
        ("director", {"band_front_port": 10002}, ""),
        ("director", {"band_director_env": {"BAND_FRONT_PORT": "10002"}}, "sets BAND_FRONT_PORT, which"),
        ("director", {"band_director_env": {"BAND_WACH": "5", "TZ": "UTC"}}, "sets BAND_WACH, which the director does"),
        ("director", {"band_director_env": {"BAND_WATCH": "5", "TZ": "UTC"}}, ""),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together_are_refused(
    role: str, given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """The message names what was set, and what it has to be."""
    done = validated(role, given, tmp_path)
    assert (done.returncode != 0) is bool(said), done.stdout
    assert said in " ".join(done.stdout.split())


def test_setup_knows_the_settings_of_the_director() -> None:
    """Those that `band_director_env` may set, and those that have variables of their own, are all of them."""
    listed = yaml.safe_load((ROOT / "roles/director/vars/main.yml").read_text())
    named = {
        *listed["_band_director_free_env"],
        *listed["_band_director_own_env"],
        *listed["_band_director_refused_env"],
    }
    settings = {field.encode_name for field in msgspec.structs.fields(DirectorSettings)}
    ours = {name for name in settings if name.startswith("BAND_")} - {"BAND_UNKNOWN", "BAND_REDIS_DSN"}
    assert {name for name in named if name.startswith("BAND_") and not name.endswith("_FILE")} == ours


@pytest.mark.parametrize("verb", ["validate", "setup"])
def test_a_taken_port_ends_the_set_up_before_it_begins(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What listens there already is told with the variable to change, in check mode as well; nothing else was done."""
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = ansible("ansible-playbook", f"playbooks/{verb}.yml", "--check", "-e", f"band_port={port}")
    said = " ".join(done.stdout.split())
    assert done.returncode != 0
    # A platform on this machine has taken others.
    assert re.search(
        rf"Ports? ([\d, ]*, )?{port}(, [\d, ]*)? of localhost (is|are) already in use by another program", said
    )
    assert "or set band_port" in said
    assert "changed=0" in said
    assert "rockstat.band.base_image : Sources" not in said


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ("room 900 /var memory 900 images 0 containers 0", "has 900 MB free, and images and builds need 2000"),
        ("room 900 /var memory 90 images 4 containers 6", ""),
        ("room 90 /var memory 90 images 4 containers 6", "has 90 MB free, and images and builds need 500"),
        ("room 9000 /var memory 90 images 0 containers 0", "has 90 MB of memory available"),
        ("room 9000 /var memory 900 images 0 containers 0 taken 10001", "or set band_front_port to a free port"),
    ],
)  # fmt: skip
def test_a_host_without_room_is_told_so(facts: str, said: str, tmp_path: Path) -> None:
    """More disk and memory are asked for where the platform is not there yet."""
    lines = re.sub(r" (?=memory|images|containers|taken)", "\n", facts)
    task = next(one for one in tasks_in(playbook("validate")) if one["name"].startswith("Check disk space"))
    path = tmp_path / "room.yml"
    given = {"host": {"stdout_lines": lines.splitlines()}}
    play = {"hosts": "localhost", "gather_facts": False, "vars": given, "tasks": [task]}
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = ansible("ansible-playbook", str(path))
    assert (done.returncode != 0) is bool(said), done.stdout
    assert said in " ".join(done.stdout.split())


@pytest.mark.parametrize("store", ["image/overlay2/repositories.json", "containerd/daemon/x.bolt/meta.db", "empty"])
def test_the_images_of_a_stopped_docker_count(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder, wherever daemon.json has it, tells whether the platform's images are there: less room is needed."""
    daemon, named = tmp_path / "daemon.json", tmp_path / "data root" / store
    daemon.write_text(json.dumps({"debug": True, "data-root": str(tmp_path / "data root")}))
    named.parent.mkdir(parents=True)
    named.write_bytes(b"" if store == "empty" else b'\0"docker.io/t-stopped/base:latest"\0')
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    given = {"_band_validate_daemon": str(daemon), "band_port": free_port(), "band_base_image_name": "t-stopped/base"}
    done = ansible("ansible-playbook", "playbooks/validate.yml", "-v", "-e", json.dumps(given), "--tags", "host")
    assert f"images {int(store != 'empty')}" in done.stdout, done.stdout + done.stderr
    assert f"{tmp_path}/data root" in done.stdout


def test_half_of_a_backup_is_not_started(tmp_path: Path) -> None:
    """A restore that was killed while it replaced the data has to be run again; setup says so before it begins."""
    (tmp_path / "restore.unfinished").write_text("rockstat-20261124T020000Z.tar.gz\n")
    given = {"band_home": str(tmp_path), "band_services": [], "band_port": free_port()}
    done = ansible("ansible-playbook", "playbooks/setup.yml", "--check", "-e", json.dumps(given), "--tags", "host")
    assert "Run playbooks/restore.yml again" in " ".join(done.stdout.split()), done.stdout
    given["_band_validate_folders"] = False
    done = ansible("ansible-playbook", "playbooks/setup.yml", "--check", "-e", json.dumps(given), "--tags", "host")
    assert "restore.yml" not in done.stdout


@pytest.mark.parametrize("state", ["", "running", "absent"])
def test_a_service_without_an_image_folder_is_refused(state: str, tmp_path: Path) -> None:
    """Neither built in nor in a collection on the host: setup says so before it begins; what is to go needs none."""
    for name in ("mine", "elsewhere"):
        (tmp_path / "images" / "user" / name).mkdir(parents=True)
        (tmp_path / "images" / "user" / name / "Dockerfile").touch()
    (tmp_path / "images" / "user" / "elsewhere" / "Dockerfile").unlink()
    last = {"name": "elsewhere", "state": state} if state else "elsewhere"
    given = {"band_home": str(tmp_path), "band_services": ["front", {"name": "mine"}, last], "band_port": free_port()}
    done = ansible("ansible-playbook", "playbooks/setup.yml", "--check", "-e", json.dumps(given), "--tags", "host")
    said = " ".join(done.stdout.split())
    refused = "band_services names elsewhere, and there is no image folder of that name" in said
    assert refused is (state != "absent"), said
    assert f"Put it into {tmp_path}/images/user/ of localhost" in said or not refused


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"band_redis_host_port": 10001},
            "band_front_port and band_redis_host_port of localhost must be different ports",
        ),
        ({"band_redis_host_port": 10000}, "band_port and band_redis_host_port of localhost must be different ports"),
        (
            {"band_front_port": 443, "band_proxy_enabled": True},
            "band_front_port and band_proxy_https_port of localhost",
        ),
        ({"band_redis_host_port": 8950}, "band_redis_host_port of localhost must be"),
        ({"band_front_port": 443}, ""),
        ({"band_redis_host_port": 6390}, ""),
    ],
)
def test_two_of_the_platform_that_want_one_port_are_refused(given: dict[str, Any], told: str) -> None:
    """Redis, front, the director and the proxy where it is on; none may be of the range for services either."""
    done = ansible("ansible-playbook", "playbooks/setup.yml", "--check", "-e", json.dumps(given), "--tags", "host")
    said = " ".join(done.stdout.split())
    assert ("must be different ports" in said) is bool(told), said
    assert told in said


@pytest.mark.timeout(240)  # several runs of Ansible
def test_the_sample_inventory_and_a_vault_go_together(tmp_path: Path) -> None:
    """A copy of inventory/sample.yml is accepted, with secrets out of an encrypted file that show nowhere."""
    sample = (ROOT / "inventory" / "sample.yml").read_text(encoding="utf-8")
    mine, word = tmp_path / "mine.yml", tmp_path / "word"
    commented = '# band_token: "{{ vault_band_token }}"'
    assert commented in sample
    mine.write_text(sample.replace(commented, commented[2:]), encoding="utf-8")
    vault = tmp_path / "group_vars" / "band" / "vault.yml"
    vault.parent.mkdir(parents=True)
    vault.write_text("vault_band_token: canary-token-4711-band\n", encoding="utf-8")
    word.write_text("open\n", encoding="utf-8")
    key = ("--vault-password-file", str(word))
    assert ansible("ansible-vault", "encrypt", *key, str(vault)).returncode == 0
    assert "canary" not in vault.read_text(encoding="utf-8")
    local = ("-e", "ansible_connection=local", "-e", '{"ansible_become": false}', "--skip-tags", "host")
    done = ansible("ansible-playbook", "-i", str(mine), "playbooks/validate.yml", "-vv", *key, *local)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "canary" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("services", "said"),
    [
        (["front", {"name": "mmgeo", "env": {"KEY": "a'b"}}], ""),
        ([{"nme": "front"}], "has to be the name of a service"),
        (["front", 3], "has to be the name of a service"),
        (["front", {"name": "front"}], "Each name may occur once"),
        ([{"name": "front", "limits": {"memory": "much"}}], "The entry front of band_services"),
        ([{"name": "front", "evn": {}}], "The entry front of band_services"),
        ([{"name": "front", "env": {"A B": "c"}}], "The entry front of band_services"),
        ([{"name": "front", "env": {"": "c"}}], "names in its env only letters, digits and _"),
    ],
)
def test_services_are_named_alone_or_with_settings(services: list[Any], said: str, tmp_path: Path) -> None:
    """`band_services: [front]` is enough; what is no entry is told in words of ours."""
    role = {"name": "rockstat.band.services", "public": True}
    shown = {"msg": "RUNS {{ _band_services_all | to_json | b64encode }}"}
    tasks = [
        {"ansible.builtin.include_role": {**role, "tasks_from": "validate"}},
        {"ansible.builtin.debug": shown},
    ]
    path = tmp_path / "services.yml"
    play = {"hosts": "localhost", "gather_facts": False, "vars": {"band_services": services}, "tasks": tasks}
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = ansible("ansible-playbook", str(path))
    assert (done.returncode != 0) is bool(said), done.stdout
    if said:
        assert said in " ".join(done.stdout.split())
    else:
        runs = re.search(r"RUNS (\S+)", done.stdout)
        assert runs
        assert json.loads(base64.b64decode(runs[1])) == [{"name": "front"}, {"name": "mmgeo", "env": {"KEY": "a'b"}}]


@pytest.mark.parametrize(
    ("closed", "front", "env"),
    [
        (True, "front", {"REQUIRE_KEY": "yes"}),
        (True, {"name": "front", "env": {"DOMAIN": "a.example"}}, {"REQUIRE_KEY": "yes", "DOMAIN": "a.example"}),
        (True, {"name": "front", "env": {"REQUIRE_KEY": "no"}}, {"REQUIRE_KEY": "no"}),
        (False, "front", None),
    ],
)
def test_band_require_key_closes_front_to_events_without_a_key(
    closed: bool, front: Any, env: Any, tmp_path: Path
) -> None:
    """It is a setting of front, beside those of its entry, which go before it."""
    role = {"name": "rockstat.band.services", "tasks_from": "validate", "public": True}
    shown = {"msg": "RUNS {{ _band_services_all | to_json | b64encode }}"}
    tasks = [{"ansible.builtin.include_role": role}, {"ansible.builtin.debug": shown}]
    play = {
        "hosts": "localhost", "gather_facts": False, "tasks": tasks,
        "vars": {"band_services": [front, "mmgeo"], "band_require_key": closed},
    }  # fmt: skip
    path = tmp_path / "require.yml"
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = ansible("ansible-playbook", str(path))
    runs = re.search(r"RUNS (\S+)", done.stdout)
    assert runs, done.stdout
    first, second = json.loads(base64.b64decode(runs[1].strip('"')))
    assert (first["name"], first.get("env"), second) == ("front", env, {"name": "mmgeo"})


def test_the_demo_delivers_to_a_double_unless_a_token_is_there(tmp_path: Path) -> None:
    """With band_services_demo a double and a sender pointed at it run; a real token leads the sender to Mixpanel."""
    playbook = tmp_path / "demo.yml"
    role = {"name": "rockstat.band.services", "tasks_from": "validate", "public": True}
    names = "{{ _band_services_all | map(attribute='name') | join(' ') }}"
    facts = {"msg": f"RUNS {names} {{{{ _band_services_extra[1].env | to_json }}}}"}
    tasks = [{"ansible.builtin.include_role": role}, {"ansible.builtin.debug": facts}]
    play = {"hosts": "localhost", "gather_facts": False, "vars": {"band_services_demo": True}, "tasks": tasks}
    playbook.write_text(yaml.safe_dump([play]), encoding="utf-8")
    demo = ansible("ansible-playbook", str(playbook)).stdout
    assert "RUNS front mmgeo sxgeo uaparser mixpanel_double send_mixpanel" in demo
    assert "http://mixpanel_double:8080" in demo
    real = ansible("ansible-playbook", str(playbook), "-e", "mixpanel_token=0123456789abcdef").stdout
    assert "0123456789abcdef" in real
    assert "http://mixpanel_double" not in real


def test_send_webhook_runs_as_soon_as_there_are_destinations(tmp_path: Path) -> None:
    """They become the JSON that the service reads; without any, it does not run."""
    playbook = tmp_path / "webhook.yml"
    role = {"name": "rockstat.band.services", "tasks_from": "validate", "public": True}
    facts = {"msg": "RUNS {{ _band_services_all | selectattr('name', 'eq', 'send_webhook') | to_json | b64encode }}"}
    tasks = [{"ansible.builtin.include_role": role}, {"ansible.builtin.debug": facts}]
    playbook.write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8"
    )
    destinations = [{"name": "crm", "url": "https://crm.example.com/", "secret": "whsec_x'y", "events": ["order"]}]
    for given, expected in (([], []), (destinations, destinations)):
        done = ansible("ansible-playbook", str(playbook), "-e", json.dumps({"webhook_destinations": given}))
        runs = re.search(r"RUNS (\S+)", done.stdout)
        assert runs, done.stdout
        services = json.loads(base64.b64decode(runs[1].strip('"')))
        assert [json.loads(one["env"]["WEBHOOK_DESTINATIONS"]) for one in services] == ([expected] if given else [])


def test_front_gets_the_secrets_of_webhooks(tmp_path: Path) -> None:
    """They join the env that its entry of band_services has; without any, the entry is as it was."""
    playbook = tmp_path / "secrets.yml"
    role = {"name": "rockstat.band.services", "tasks_from": "validate", "public": True}
    facts = {"msg": "RUNS {{ _band_services_all | selectattr('name', 'eq', 'front') | to_json | b64encode }}"}
    tasks = [{"ansible.builtin.include_role": role}, {"ansible.builtin.debug": facts}]
    playbook.write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8"
    )
    secrets = {"shop": "whsec_x'y", "crm": ["whsec_1", "whsec_2"]}
    entry = {"name": "front", "env": {"DOMAIN": "t.example.com"}}
    for given in ({}, secrets):
        variables = {"webhook_secrets": given, "band_services": [entry]}
        done = ansible("ansible-playbook", str(playbook), "-e", json.dumps(variables))
        runs = re.search(r"RUNS (\S+)", done.stdout)
        assert runs, done.stdout
        (front,) = json.loads(base64.b64decode(runs[1].strip('"')))
        assert json.loads(front["env"].pop("WEBHOOK_SECRETS", "{}")) == given
        assert front == entry
