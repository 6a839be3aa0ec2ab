"""What the verbs of the playbooks and of bin/ say and do, as far as no host is needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from plays import ROOT, ansible, playbook, tasks_in

UP = {"health": {"redis": {"status": "ok"}}, "services": {"front": {"state": "running"}}}


NOTHING: dict[str, Any] = {"containers": [], "volumes": [], "files": []}


@pytest.mark.parametrize(
    ("info", "found", "word"),
    [
        (UP, {}, ""),
        ({}, {}, ""),
        ({}, {"files": [{"path": "redis.password"}]}, "no director answers"),
        ({**UP, "health": {"redis": {"status": "unavailable"}}}, {"volumes": ["a"]}, "Redis is unavailable"),
        ({**UP, "services": {"front": {"state": "exited"}}}, {"volumes": ["a"]}, "front is exited"),
        ({**UP, "services": {}}, {"volumes": ["a"]}, "front is missing"),
        (
            {**UP, "services": {"front": {"state": "running", "health": "failing"}}},
            {"volumes": ["a"]},
            "front is failing",
        ),
        ({**UP, "services": {"front": {"state": "running", "health": "degraded"}}}, {"volumes": ["a"]}, ""),
    ],
)
def test_status_fails_where_what_was_set_up_does_not_run(
    info: dict[str, Any], found: dict[str, Any], word: str, tmp_path: Path
) -> None:
    """Its exit code is for a monitor; a host where nothing was ever set up is no alarm."""
    role = {"name": "rockstat.band.operate", "tasks_from": "status_assert"}
    given = {"__band_operate_info": info, "__band_operate_footprint": {**NOTHING, **found}}
    tasks = [{"ansible.builtin.include_role": role}]
    play = {"hosts": "localhost", "gather_facts": False, "vars": given, "tasks": tasks}
    path = tmp_path / "judge.yml"
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = ansible("ansible-playbook", str(path))
    assert (done.returncode != 0) is bool(word), done.stdout + done.stderr
    assert word in done.stdout


def test_status_names_who_needs_attention_and_why(tmp_path: Path) -> None:
    """Not the director is degraded when a service is; each that is not well stands below the table with its reason."""
    row = {"wanted": "running", "state": "running", "health": "ok", "ports": [{"host": 8900}], "dead_letters": 0}
    info = {
        "health": {
            "status": "degraded", "director": {"status": "ok"}, "docker": {"status": "ok"},
            "redis": {"status": "failing", "reason": "it refuses writes (OOM)"},
            "services": {"total": 6, "troubled": ["mixer"], "reasons": {"mixer": "mixpanel: it takes no events now"}},
        },
        "services": {"front": row, "mixer": {**row, "health": "degraded", "dead_letters": 3}},
    }  # fmt: skip
    role = {"name": "rockstat.band.operate", "tasks_from": "status_report"}
    given = {
        "__band_operate_info": info, "__band_operate_footprint": {**NOTHING, "volumes": ["a"]},
        "__band_operate_exposure": {"open": []},
    }  # fmt: skip
    tasks = [{"ansible.builtin.include_role": role}]
    path = tmp_path / "show.yml"
    path.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "vars": given, "tasks": tasks}]))
    done = ansible("ansible-playbook", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "localhost: 1 of 6 services needs attention, Redis failing, Docker ok",
        "  redis: it refuses writes (OOM)",
        "  mixer: mixpanel: it takes no events now",
        "  mixer: 3 dead letters; GET /dead_letters/mixer shows them",
    ):
        assert words in done.stdout.replace("\\n", "\n"), done.stdout
    assert "director degraded" not in done.stdout


@pytest.mark.parametrize(
    ("connection", "said"),
    [("local", "Next steps:"), ("ssh", "ssh -L 10000:127.0.0.1:10000 admin@10.0.0.7")],
)
def test_the_proof_says_on_which_host_to_go_on(connection: str, said: str, tmp_path: Path) -> None:
    """The addresses are loopback ones: of a host that is set up from elsewhere they mean nothing here."""
    event = {"id": "1", "key": "in.gen.track.setup", "latency_ms": 3.0, "data": {}}
    facts = {"__band_verify_event": {"event": event, "latency_ms": 3.0}, "__band_verify_exposure": {"open": []}}
    host = {"ansible_connection": connection, "ansible_host": "10.0.0.7", "ansible_user": "admin"}
    inventory, path = tmp_path / "hosts.yml", tmp_path / "proof.yml"
    hosts = {"events-1": {**host, **facts, "__band_verify_info": {"services": {}}}}
    inventory.write_text(yaml.safe_dump({"band": {"hosts": hosts}}), encoding="utf-8")
    tasks = [{"ansible.builtin.include_role": {"name": "rockstat.band.verify", "tasks_from": "report"}}]
    path.write_text(yaml.safe_dump([{"hosts": "band", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    done = ansible("ansible-playbook", "-i", str(inventory), str(path))
    assert done.returncode == 0, done.stdout
    assert said in done.stdout
    assert ("on events-1 itself" in done.stdout) is (connection == "ssh")


def test_upgrade_ends_with_a_list_that_can_be_read(tmp_path: Path) -> None:
    """What became of each service stands in words, one a line."""
    task = next(one for one in tasks_in(playbook("upgrade")) if one.get("name") == "Report what changed")
    actions = {"front": "nothing", "uaparser": "build", "mmgeo": "restart"}
    given = {"__band_director_image": {"changed": True}, "__band_services_run": {"actions": actions}}
    path = tmp_path / "changed.yml"
    play = {"hosts": "localhost", "gather_facts": False, "vars": given, "tasks": [task]}
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    said = " ".join(ansible("ansible-playbook", str(path)).stdout.split())
    assert "director replaced front unchanged mmgeo replaced, with other settings uaparser built and replaced" in said


def test_status_compares_versions_across_hosts(tmp_path: Path) -> None:
    """Equal sources are the same version on every host, whatever the image's hash; where they differ it is said."""

    def host(name: str, uaparser: str) -> dict[str, Any]:
        versions = {"front": "f" * 16, "uaparser": uaparser, "director": "d" * 12}
        containers = [{"service": one, "kind": "service", "contents": text} for one, text in versions.items()]
        services = {one: {"state": "running", "image": f"rockstat/{one}:{name}"} for one in ("front", "uaparser")}
        found = {**NOTHING, "containers": containers}
        given = {"__band_operate_info": {**UP, "services": services}, "__band_operate_footprint": found}
        return {"ansible_connection": "local", "__band_operate_exposure": {"open": []}, **given}

    inventory, path = tmp_path / "hosts.yml", tmp_path / "show.yml"
    hosts = {"one": host("a", "1" * 16), "two": host("b", "1" * 16), "three": host("c", "2" * 16)}
    inventory.write_text(yaml.safe_dump({"band": {"hosts": hosts}}), encoding="utf-8")
    tasks = [{"ansible.builtin.include_role": {"name": "rockstat.band.operate", "tasks_from": "status_report"}}]
    path.write_text(yaml.safe_dump([{"hosts": "band", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    done = ansible("ansible-playbook", "-i", str(inventory), str(path))
    assert done.returncode == 0, done.stdout
    assert "uaparser: 111111111111 on one, two; 222222222222 on three" in done.stdout
    assert done.stdout.count("Versions differ") == 1
    assert "front: ffffffffffff" not in done.stdout
    assert re.search(r"front +- +running .* ffffffffffff$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("verb", ["status", "backup"])
def test_a_host_that_is_down_stops_no_other(verb: str, tmp_path: Path) -> None:
    """A verb goes on with the hosts that answer, and its exit code tells of the one that does not."""
    down = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    settings = {"band_namespace": "nobody", "band_home": str(tmp_path / "home"), "ansible_become": False}
    band = {"hosts": {"down": down, "here": local}, "vars": {**settings, "band_port": 1}}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"band": band}), encoding="utf-8")
    done = ansible("ansible-playbook", "-i", str(inventory), f"playbooks/{verb}.yml")
    assert done.returncode == 4 if verb == "status" else done.returncode != 0, done.stdout + done.stderr
    assert re.search(r"down +: .*unreachable=1", done.stdout)
    # There is no platform here, which status tells and of which backup can take nothing.
    told = {"status": "here: nothing is set up here yet", "backup": "No Redis of the namespace nobody"}
    assert told[verb] in done.stdout


@pytest.mark.parametrize("kept", ["support", "backup"])
def test_what_is_brought_to_the_controller_is_its_readers_alone(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle holds logs and names, a backup secrets: both are 0600 here as well, whatever the umask."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")
    archive = tmp_path / "rockstat-20261124T020000Z.tar.gz"
    archive.write_bytes(b"x" * 1000)
    dest = tmp_path / "dest"
    given = {
        "band_home": str(tmp_path),
        "band_director_url": "http://127.0.0.1:1",
        "band_support_dest": str(dest),
        "band_backup_fetch_to": str(dest),
    }
    name, part = {"support": ("operate", "support"), "backup": ("backup", "fetch")}[kept]
    role = {"name": f"rockstat.band.{name}", "tasks_from": part}
    made = {"__band_backup_made": {"archive": str(archive)}}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": made,
        "tasks": [{"ansible.builtin.include_role": role}],
    }
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    old = os.umask(0o022)
    done = ansible("ansible-playbook", str(path), "-e", json.dumps(given))
    os.umask(old)
    assert done.returncode == 0, done.stdout
    brought = [one for one in dest.rglob("*") if one.is_file()]
    assert [one.stat().st_mode & 0o777 for one in brought] == [0o600]
    assert brought[0].stat().st_size > 900


@pytest.mark.parametrize("given", [{}, {"band_uninstall_backups": True}, {"band_backup_dir": "deep/er"}])
def test_uninstall_keeps_the_backups_unless_told(given: dict[str, Any], tmp_path: Path) -> None:
    """They are what one needs after it: they go only by a variable of their own, and the list says where they are."""
    home = tmp_path / "srv" / "rockstat"
    backups = home / given.get("band_backup_dir", "backups")
    for folder in (backups, home / "etc", home / "images"):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 1024)
    files = [{"path": str(home), "bytes": 3072}, {"path": str(backups), "bytes": 1024}]
    given = {**given, **({"band_backup_dir": str(backups)} if "band_backup_dir" in given else {})}
    found = {**NOTHING, "files": files, "networks": [], "images": [], "packages": [], "others": {}, "docker": ""}
    names = {"band_home": str(home), "band_uninstall_confirm": True, "__band_uninstall_footprint": found, **given}
    tasks = [
        {"ansible.builtin.include_role": {"name": "rockstat.band.uninstall", "tasks_from": part}}
        for part in ("confirm", "files")
    ]
    path = tmp_path / "uninstall.yml"
    play = {"hosts": "localhost", "gather_facts": False, "vars": names, "tasks": tasks}
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = ansible("ansible-playbook", str(path))
    assert done.returncode == 0, done.stdout
    kept = not given.get("band_uninstall_backups", False)
    assert [one.name for one in home.rglob("*") if one.is_file()] == (["file"] if kept else [])
    assert home.exists() is kept
    assert (f"backups     {backups} (1.00 KB)" in done.stdout) is kept
    assert f"{home} ({'2.00' if kept else '3.00'} KB)" in done.stdout


@pytest.mark.parametrize("ours", [True, False])
def test_uninstall_removes_the_command_if_it_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, ours: bool
) -> None:
    """A program of others that has its name is not even named, and another namespace's completion stays."""
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    launcher = tmp_path / "band"
    launcher.write_text("#!/bin/sh\n" + ("# Installed by Rockstat Band (band_command)\n" if ours else ""))
    given = {
        "band_home": str(tmp_path / "home"), "band_cli_launcher": str(launcher), "band_namespace": "alt",
        "_band_uninstall_paths": [], "band_uninstall_confirm": True,
    }  # fmt: skip
    parts = ("discover", "confirm", "host_files")
    tasks = [
        {"ansible.builtin.include_role": {"name": "rockstat.band.uninstall", "tasks_from": part}} for part in parts
    ]
    play = {"hosts": "localhost", "gather_facts": True, "gather_subset": ["!all", "service_mgr"], "tasks": tasks}
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = ansible("ansible-playbook", str(path), "-e", json.dumps(given))
    assert done.returncode == 0, done.stdout + done.stderr
    assert launcher.exists() is not ours
    assert (f"{launcher} (" in done.stdout) is ours


@pytest.mark.parametrize("name", ["rockstat/director", "brk/director"])
def test_uninstall_removes_images_by_the_names_of_the_settings(name: str, tmp_path: Path) -> None:
    """The original's name is the default platform's alone, to make and to remove; the list says what others need."""
    images = [{"id": name, "tags": [f"{name}:{name}"], "bytes": 1, "in_use": name == "b"} for name in "ab"]
    found = {**NOTHING, "images": images, "networks": [], "packages": [], "others": {"containers": 1}, "docker": "26"}
    build = yaml.safe_load((ROOT / "roles/director/tasks/build.yml").read_text(encoding="utf-8"))[0]
    made = build["rockstat.band.band_image"]["tags"]
    given = {"__band_uninstall_footprint": found, "band_director_image_name": name, "band_redis_image_name": "x/redis"}
    role = {"name": "rockstat.band.uninstall", "tasks_from": "confirm", "public": True}
    names = "NAMES {{ _band_uninstall_image_names | join(' ') }} MADE"
    tasks = [
        {"ansible.builtin.include_role": role},
        {"ansible.builtin.debug": {"msg": [names, made]}},
    ]
    path = tmp_path / "names.yml"
    path.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "vars": given, "tasks": tasks}]))
    done = ansible("ansible-playbook", "--check", str(path))
    assert done.returncode == 0, done.stdout
    said = " ".join(done.stdout.split())
    also = " rst/band:latest" if name == "rockstat/director" else ""
    assert f"NAMES rockstat/rootfs rockstat/band-base-py x/redis {name}{also} MADE" in said
    assert said.split("MADE")[1].count("rst/band:latest") == (1 if also else 0)
    assert "images a:a files" in said
    assert "images b:b because somebody else's container uses them" in said


@pytest.mark.parametrize("inventory", ["inventory/nope.yml", "inventory/localhost.yml -i inventory/nope.yml"])
def test_a_misspelt_inventory_is_an_error(inventory: str) -> None:
    """No verb ends well for hosts that it never saw; the script says so before it installs anything."""
    done = ansible("ansible-playbook", "playbooks/status.yml", "-i", *inventory.split())
    assert done.returncode != 0
    assert "inventory/nope.yml" in done.stderr
    script = subprocess.run(
        ["bin/setup", "-i", *inventory.split()], cwd=ROOT, capture_output=True, text=True, timeout=5, check=False
    )
    assert (script.returncode, script.stdout) == (1, "")
    assert 'there is no inventory "inventory/nope.yml"' in script.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("-i mine.yml -e '{\"a b\": true}'", "ansible-playbook -i mine.yml -e '{\"a b\": true}'"),
        ("-e @secrets.yml -e mixpanel_token=canary", "-e @secrets.yml -e '(a secret that is not shown)'"),
        ("-i mine.yml --check", "Nothing was changed"),
    ],
)
def test_the_script_says_how_to_do_it_again(given: str, said: str) -> None:
    """With the options that it was given, but for secrets; check mode did nothing that could be done again."""
    function = re.search(r"^say_again\(\) \{.*?^\}$", (ROOT / "bin/setup").read_text(), re.MULTILINE | re.DOTALL)
    assert function
    text = f'say() {{ echo "$1"; }}; venv=.venv\n{function[0]}\nsay_again {given}'
    done = subprocess.run(["bash", "-uc", text], capture_output=True, text=True, timeout=5, check=True)
    assert said in done.stdout
    assert ("run it again" in done.stdout) is ("--check" not in given)
    assert "canary" not in done.stdout


@pytest.mark.parametrize("broken", ["", "upgrade"])
def test_the_tests_run_every_scenario_and_show_the_words_of_one_that_fails(broken: str, tmp_path: Path) -> None:
    """bin/test without a part runs all of molecule/: `default` first, the others side by side."""
    text = (ROOT / "bin/test").read_text(encoding="utf-8")
    assert re.search(r'for each in [a-z ]* molecule; do timed "\$each" attempt', text)
    names = ("say", "fail", "molecule_scenarios", "side_by_side", "aside", "time_of", "timed")
    parts = [re.search(rf"^{name}\(\) \{{(?:.*\}}$|.*?^\}}$)", text, re.MULTILINE | re.DOTALL) for name in names]
    for tool, lines in (
        ("molecule", f'echo "$3" >> {tmp_path}/ran; echo "words of $3"; [ "$3" != "{broken}" ]'),
        ("ansible-playbook", "true"),
    ):
        (tmp_path / tool).write_text(f"#!/bin/sh\n{lines}\n")
        (tmp_path / tool).chmod(0o755)
    script = "\n".join(["set -euo pipefail; times=()", *(part[0] for part in parts if part), "molecule_scenarios all"])
    script += "\nprintf '%s\\n' \"${times[@]}\""
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    work = tmp_path / "tree"
    (work / "molecule").mkdir(parents=True)
    scenarios = sorted(path.parent.name for path in ROOT.glob("molecule/*/molecule.yml"))
    for name in scenarios:
        (work / "molecule" / name).mkdir()
        (work / "molecule" / name / "molecule.yml").touch()
    done = subprocess.run(
        ["bash", "-c", script], cwd=work, env=env, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode != 0) is bool(broken), done.stdout + done.stderr
    ran = (tmp_path / "ran").read_text().split()
    assert (ran[0], sorted(ran)) == ("default", scenarios)
    shown = [name for name in scenarios if name != "default" and f"words of {name}\n" in done.stdout]
    assert shown == ([broken] if broken else [])
    if not broken:
        assert all(re.search(rf"^molecule {name} +\d+ s$", done.stdout, re.MULTILINE) for name in scenarios)


def test_every_scenario_goes_the_whole_way() -> None:
    """Each scenario has the whole sequence: check before anything is there, verify after side effects too."""
    base = yaml.safe_load((ROOT / ".config" / "molecule" / "config.yml").read_text(encoding="utf-8"))
    assert base["scenario"]["test_sequence"][1:] == [
        "syntax", "create", "prepare", "check", "converge", "idempotence", "verify", "side_effect", "verify", "destroy",
    ]  # fmt: skip
    scenarios = {path.parent.name: path for path in ROOT.glob("molecule/*/molecule.yml")}
    assert set(scenarios) >= {"default", "alternative", "ssh", "upgrade", "uninstall", "backup_restore", "offline"}
    for name, path in scenarios.items():
        scenario = yaml.safe_load(path.read_text(encoding="utf-8"))["scenario"]
        assert scenario == {"name": name}, f"{name} has a sequence of its own"
        assert (path.parent / "verify.yml").is_file(), name
        assert (path.parent / "side_effect.yml").is_file(), name


@pytest.mark.parametrize(
    ("version", "networks", "said"),
    [
        ("26.1.5", "rockstat", "changed=1 "),
        ("26.1.5", "", "changed=2 "),
        ("19.03.1", "rockstat", "Docker 19.03.1 was started, and the director needs 20.10"),
    ],
)
def test_what_a_stopped_docker_could_not_tell_is_asked_after_its_start(
    version: str, networks: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network of a set-up before is there again with the engine, and an engine that is too old is refused."""
    scripts = {
        "dockerd": f"touch {tmp_path}/up",
        "docker": f"""cd {tmp_path}; [ -e up ] || exit 1
        case "$1 $2" in
          version*) echo {version} ;;
          "network inspect") grep -qx "$3" networks ;;
          "network create") shift $(($# - 1)); ! grep -qx "$1" networks && echo "$1" | tee -a networks ;;
        esac""",
    }
    for name, text in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "networks").write_text(f"{networks}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    discovered = {"__band_docker_host": {"dockerd": "dockerd"}, "__band_docker_answers": False}
    places = {
        "_band_docker_daemon": f"{tmp_path}/dockerd", "band_docker_pidfile": f"{tmp_path}/docker.pid",
        "_band_docker_containerd_pidfile": f"{tmp_path}/containerd.pid", "band_docker_log_file": f"{tmp_path}/log",
    }  # fmt: skip
    tasks = [
        {"ansible.builtin.include_role": {"name": "rockstat.band.docker", "tasks_from": part}}
        for part in ("run", "network")
    ]
    path = tmp_path / "play.yml"
    play = {"hosts": "localhost", "gather_facts": False, "vars": discovered, "tasks": tasks}
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = ansible("ansible-playbook", str(path), "-e", json.dumps(places))
    assert said in " ".join(done.stdout.split()) + " ", done.stdout + done.stderr
    assert (done.returncode == 0) is said.startswith("changed")


@pytest.mark.parametrize(
    ("discovered", "said"),
    [
        ({"__band_docker_answers": True, "__band_docker_host": {"dockerd": "x", "answers": "26"}}, "Would create the"),
        ({"__band_docker_answers": False, "__band_docker_host": {}}, "Would create the network rockstat"),
        (
            {"__band_docker_answers": False, "__band_docker_host": {"dockerd": "x"}},
            "Would start Docker, and create the network rockstat if it is missing",
        ),
    ],
)
def test_check_mode_does_not_say_what_a_stopped_docker_cannot_tell(
    discovered: dict[str, Any], said: str, tmp_path: Path
) -> None:
    """Whether the network is there is known only of an engine that runs, or of one that is not installed."""
    tasks = [{"ansible.builtin.include_role": {"name": "rockstat.band.docker", "tasks_from": "network"}}]
    path = tmp_path / "play.yml"
    play = {"hosts": "localhost", "gather_facts": False, "vars": discovered, "tasks": tasks}
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = ansible("ansible-playbook", str(path), "--check")
    assert said in done.stdout and "changed=1" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("wheels", [True, False])
def test_a_bundle_always_holds_the_wheels_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, wheels: bool
) -> None:
    """An offline host installs the command band from them; Ansible's are for those who run bin/setup there."""
    asked = tmp_path / "asked"
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text(f"import sys\nprint(sys.argv, file=open({str(asked)!r}, 'a'))\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    given = {
        "band_bundle_wheels": wheels,
        "_band_bundle_work": str(tmp_path / "work"),
        "_band_bundle_tree": ["galaxy.yml"],
    }
    role = {"name": "rockstat.band.bundle", "tasks_from": "wheels"}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = ansible("ansible-playbook", str(path), "-e", json.dumps(given))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "service_src/band_cli/requirements.txt" in asked.read_text()
    assert ("requirements/ansible.txt" in asked.read_text()) is wheels
    assert (tmp_path / "work" / "rockstat-band.tar.gz").is_file() is wheels
