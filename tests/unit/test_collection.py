"""The Ansible collection: what its roles promise of their settings, and what the guard refuses."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "meta").is_dir())
PLAYBOOKS = sorted(path.stem for path in (ROOT / "playbooks").glob("*.yml"))
GUARD_FAILS = ("band_dirctor_memory=1", "band_director_memory"), ("band_redis_port=1", "band_redis_host_port")


def specs_of(role: str) -> dict[str, Any]:
    """Return a role's entry points with their specifications."""
    path = ROOT / "roles" / role / "meta" / "argument_specs.yml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"])


def ansible(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a tool of Ansible's that is beside this Python."""
    command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=55, check=False)


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specifications_say_the_same(role: str) -> None:
    """Each default stands in both places with the same value or the same words, in every entry point."""
    defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8")) or {}
    for entry, spec in specs_of(role).items():
        for name, option in (spec.get("options") or {}).items():
            if option.get("required"):
                assert name not in defaults, f"{role}/{entry}: {name} is required and has a default"
            else:
                assert name in defaults, f"{role}/{entry}: {name} has no default"
                assert option.get("default") == defaults[name], f"{role}/{entry}: {name}"


@pytest.mark.parametrize("role", ROLES)
def test_variables_say_whose_they_are(role: str) -> None:
    """A public variable begins with band_<role>_ (or is one of the shared ones), a constant with _band_<role>_."""
    shared = set(specs_of("settings")["main"]["options"])
    for name in specs_of(role)["main"].get("options") or {}:
        assert name.startswith(f"band_{role}") or name in shared, name
    constants = ROOT / "roles" / role / "vars" / "main.yml"
    for name in yaml.safe_load(constants.read_text(encoding="utf-8")) if constants.is_file() else []:
        assert name.startswith(f"_band_{role}"), name


@pytest.mark.parametrize("role", ROLES)
def test_a_role_validates_before_it_works(role: str) -> None:
    """tasks/main.yml is a table of contents that begins with a stage that touches nothing."""
    tasks = yaml.safe_load((ROOT / "roles" / role / "tasks" / "main.yml").read_text(encoding="utf-8"))
    if optional := tasks[0].get("ansible.builtin.include_tasks"):
        # One that is seldom wanted costs nothing where it is not: everything of it stands behind one condition.
        assert tasks[0]["when"]
        tasks = yaml.safe_load((ROOT / "roles" / role / "tasks" / optional).read_text(encoding="utf-8"))
    assert tasks[0].get("ansible.builtin.import_tasks") == "validate.yml"
    assert "validate" in specs_of(role)
    for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 65, f"{path.relative_to(ROOT)} is long"


def test_the_page_of_variables_is_current() -> None:
    """docs/variables.md is what the roles' specifications say."""
    command = [sys.executable, str(ROOT / "docs" / "tools" / "variables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


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
    "mixpanel_tokn": ("x", "is no setting of this collection. Did you mean mixpanel_token?"),
    "telegram_token": ("x", "is no setting of this collection. Did you mean telegram_bot_token?"),
}


def test_every_wrong_setting_is_told_once_under_the_name_that_was_set() -> None:
    """All of them in one message, none in the words of Ansible's filters, none by a role's own name for it."""
    given = {name: value for name, (value, _said) in WRONG.items()}
    done = ansible("ansible-playbook", "playbooks/validate.yml", "-e", json.dumps(given))
    assert done.returncode != 0
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith((*WRONG, "band_"))]
    assert sorted(line.split()[0] for line in set(lines)) == sorted(WRONG)
    for line in lines:
        assert WRONG[line.split()[0]][1] in line
    assert "filter" not in done.stdout


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
    assert f"Something that is not ours listens on port {port} of localhost" in said
    assert "or set band_port to a free port. Origin" in said
    assert "changed=0" in said
    assert "rockstat.band.base_image : Sources" not in said


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ("room 900 /var memory 900 images 0 containers 0", "has 900 MB free, and images and builds need 2000"),
        ("room 900 /var memory 90 images 4 containers 6", ""),
        ("room 90 /var memory 90 images 4 containers 6", "has 90 MB free, and images and builds need 500"),
        ("room 9000 /var memory 90 images 0 containers 0", "has 90 MB of memory available"),
        ("room 9000 /var memory 900 images 0 containers 0 taken 10001", "10001 belongs to front, and is fixed"),
    ],
)  # fmt: skip
def test_a_host_without_room_is_told_so(facts: str, said: str, tmp_path: Path) -> None:
    """More disk and memory are asked for where the platform is not there yet."""
    lines = re.sub(r" (?=memory|images|containers|taken)", "\n", facts)
    task = next(one for one in tasks_in(playbook("validate")) if one["name"].startswith("There is room"))
    path = tmp_path / "room.yml"
    given = {"host": {"stdout_lines": lines.splitlines()}}
    play = {"hosts": "localhost", "gather_facts": False, "vars": given, "tasks": [task]}
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    done = ansible("ansible-playbook", str(path))
    assert (done.returncode != 0) is bool(said), done.stdout
    assert said in " ".join(done.stdout.split())


def playbook(name: str) -> list[dict[str, Any]]:
    """Return the plays of a playbook."""
    return list(yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text(encoding="utf-8")))


def roles_of(play: dict[str, Any]) -> list[str]:
    """Return the roles that a play lists, without the collection's name."""
    return [row["role"].removeprefix("rockstat.band.") for row in play.get("roles") or []]


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_every_verb_asks_the_guard_first(name: str) -> None:
    """A misspelt variable is refused before a role works: one of uninstall.yml's could cost the data."""
    first = playbook(name)[0]
    if name == "setup":
        assert first["ansible.builtin.import_playbook"] == "validate.yml"
    elif name == "validate":
        assert first["tasks"][0]["loop"][0] == "settings"
    else:
        assert roles_of(first)[0] == "settings"


def test_validate_looks_at_every_role_that_setup_runs() -> None:
    """What would stop setup.yml is said by validate.yml, in the same order."""
    assert playbook("validate")[0]["tasks"][0]["loop"] == roles_of(playbook("setup")[1])


def tasks_in(value: Any) -> list[dict[str, Any]]:
    """Return all tasks of a file's contents, those of blocks too."""
    if isinstance(value, list):
        return [task for one in value for task in tasks_in(one)]
    if not isinstance(value, dict):
        return []
    inner = [
        part for key in ("tasks", "pre_tasks", "post_tasks", "block", "rescue", "always") for part in value.get(key, [])
    ]
    return [value, *tasks_in(inner)]


def test_every_way_into_a_role_is_specified() -> None:
    """What a playbook or a scenario runs with tasks_from has an entry in its role's argument_specs.yml."""
    for path in [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("molecule/**/*.yml")]:
        for task in tasks_in(yaml.safe_load(path.read_text(encoding="utf-8"))):
            call = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role") or {}
            for role in ROLES if "{{" in call.get("name", "") else [call.get("name", "").rsplit(".", 1)[-1]]:
                assert call.get("tasks_from", "main") in specs_of(role) if role else True, f"{path.name}: {call}"


def test_messages_show_no_escapes() -> None:
    """In a message Ansible leaves a backslash as it is: one before a quote or an n would be read by people."""
    for path in [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml")]:
        for task in tasks_in(yaml.safe_load(path.read_text(encoding="utf-8"))):
            for module in ("assert", "debug", "fail"):
                for name, text in (task.get(f"ansible.builtin.{module}") or {}).items():
                    assert "msg" not in name or "\\" not in text, f"{path}: {task['name']}"


def test_messages_name_variables_as_they_are_set() -> None:
    """A role's name of what is set for all roles (band_director_host_port for band_port) stands in no message."""
    shared = set(specs_of("settings")["main"]["options"])
    for role in ROLES:
        defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8")) or {}
        taken = {name: re.match(r"\{\{ (\w+) \| default\([^{]*\}\}$", str(value)) for name, value in defaults.items()}
        other = [name for name, found in taken.items() if found and found[1] in shared]
        for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
            for task in tasks_in(yaml.safe_load(path.read_text(encoding="utf-8"))):
                said = (task.get("ansible.builtin.assert") or {}).get("fail_msg", "")
                named = [name for name in other if re.search(rf"\b{name}\b", re.sub(r"\{\{.*?\}\}", "", said))]
                assert not named, f"{path}: {task['name']}"


SECRET = re.compile(r"_(token|password|secret|passphrase|webhook_url|headers)\b")
# Ansible's own modules know nothing of what is secret here; ours mark their options.
NEEDS_MASK = ("uri", "copy", "template", "shell", "command", "lineinfile")


def test_tasks_that_hold_secrets_hang_on_the_one_switch() -> None:
    """no_log is nowhere a plain true or false, and no task hands a secret to a module of Ansible's without it."""
    for path in sorted(ROOT.glob("roles/*/tasks/*.yml")):
        role = path.parts[-3]
        for task in tasks_in(yaml.safe_load(path.read_text(encoding="utf-8"))):
            mask = task.get("no_log")
            assert mask is None or f"band_{role}_secure_logging" in str(mask), f"{path}: {task['name']}"
            for word in NEEDS_MASK:
                given = task.get(f"ansible.builtin.{word}")
                if given is not None and SECRET.search(str([given, task.get("args"), task.get("environment")])):
                    assert mask, f"{path}: {task['name']}"
    for role in ROLES:
        defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8")) or {}
        switch = defaults.get(f"band_{role}_secure_logging", "{{ band_secure_logging | default(true) }}")
        assert switch == "{{ band_secure_logging | default(true) }}", role


@pytest.mark.parametrize("shown", [False, True])
def test_one_switch_masks_secrets_in_output_and_diffs(tmp_path: Path, *, shown: bool) -> None:
    """Check and diff mode print no secret; with band_secure_logging false they do, for looking for a fault."""
    role = {"name": "rockstat.band.director", "tasks_from": "configure"}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}
    path = tmp_path / "configure.yml"
    path.write_text(yaml.safe_dump([play]), encoding="utf-8")
    given = {
        "band_home": str(tmp_path / "home"),
        "band_token": "canary-token-4711-band",
        "band_secure_logging": not shown,
    }
    done = ansible("ansible-playbook", str(path), "--check", "--diff", "-vvv", "-e", json.dumps(given))
    assert done.returncode == 0, done.stdout + done.stderr
    # -vvv repeats the command line, which is ours.
    said = [line for line in done.stdout.splitlines() if "band_secure_logging" not in line]
    assert any("canary-token-4711-band" in line for line in said) is shown


UP = {"health": {"redis": {"status": "ok"}}, "services": {"front": {"state": "running"}}}
NOTHING: dict[str, Any] = {"containers": [], "volumes": [], "files": []}


@pytest.mark.parametrize(
    ("info", "found", "word"),
    [
        (UP, {}, ""),
        ({}, {}, ""),
        ({}, {"files": [{"path": "redis.password"}]}, "no director answers"),
        ({**UP, "health": {"redis": {"status": "away"}}}, {"volumes": ["a"]}, "Redis is away"),
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
    role = {"name": "rockstat.band.status", "tasks_from": "judge"}
    given = {"__band_status_info": info, "__band_status_footprint": {**NOTHING, **found}}
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
    role = {"name": "rockstat.band.status", "tasks_from": "show"}
    given = {
        "__band_status_info": info, "__band_status_footprint": {**NOTHING, "volumes": ["a"]},
        "__band_status_exposure": {"open": []},
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
    [("local", "Go on from here:"), ("ssh", "ssh -L 10000:127.0.0.1:10000 admin@10.0.0.7")],
)
def test_the_proof_says_on_which_host_to_go_on(connection: str, said: str, tmp_path: Path) -> None:
    """The addresses are loopback ones: of a host that is set up from elsewhere they mean nothing here."""
    event = {"id": "1", "key": "in.gen.track.setup", "latency_ms": 3.0, "data": {}}
    facts = {"__band_verify_event": {"event": event, "latency_ms": 3.0}, "__band_verify_exposure": {"open": []}}
    host = {"ansible_connection": connection, "ansible_host": "10.0.0.7", "ansible_user": "admin"}
    inventory, path = tmp_path / "hosts.yml", tmp_path / "proof.yml"
    hosts = {"events-1": {**host, **facts, "__band_verify_info": {"services": {}}}}
    inventory.write_text(yaml.safe_dump({"band": {"hosts": hosts}}), encoding="utf-8")
    tasks = [{"ansible.builtin.include_role": {"name": "rockstat.band.verify", "tasks_from": "proof"}}]
    path.write_text(yaml.safe_dump([{"hosts": "band", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    done = ansible("ansible-playbook", "-i", str(inventory), str(path))
    assert done.returncode == 0, done.stdout
    assert said in done.stdout
    assert ("on events-1 itself" in done.stdout) is (connection == "ssh")


def test_upgrade_ends_with_a_list_that_can_be_read(tmp_path: Path) -> None:
    """What became of each service stands in words, one a line."""
    task = next(one for one in tasks_in(playbook("upgrade")) if one.get("name") == "Say what changed")
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
        given = {"__band_status_info": {**UP, "services": services}, "__band_status_footprint": found}
        return {"ansible_connection": "local", "__band_status_exposure": {"open": []}, **given}

    inventory, path = tmp_path / "hosts.yml", tmp_path / "show.yml"
    hosts = {"one": host("a", "1" * 16), "two": host("b", "1" * 16), "three": host("c", "2" * 16)}
    inventory.write_text(yaml.safe_dump({"band": {"hosts": hosts}}), encoding="utf-8")
    tasks = [{"ansible.builtin.include_role": {"name": "rockstat.band.status", "tasks_from": "show"}}]
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
    told = {"status": "here: nothing was set up here yet", "backup": "No Redis of the namespace nobody"}
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
        "band_port": 1,
        "band_support_dest": str(dest),
        "band_backup_fetch_to": str(dest),
    }
    role = {"name": f"rockstat.band.{kept}", "tasks_from": {"support": "collect", "backup": "fetch"}[kept]}
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
    assert ("same again" in done.stdout) is ("--check" not in given)
    assert "canary" not in done.stdout


@pytest.mark.parametrize("broken", ["", "upgrade"])
def test_the_tests_run_every_scenario_and_show_the_words_of_one_that_fails(broken: str, tmp_path: Path) -> None:
    """bin/test without a part runs all of molecule/: `default` first, the others side by side."""
    text = (ROOT / "bin/test").read_text(encoding="utf-8")
    assert "timed molecule molecule_scenarios all" in text
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


# What a run of setup.yml on one host may take, as a count: a call of a module there costs a quarter of a second.
MOST_TASKS = 57
MOST_CALLS = 18
# These run on the controller only.
FREE = (
    "assert",
    "debug",
    "set_fact",
    "import_tasks",
    "include_tasks",
    "import_role",
    "include_role",
    "band_settings",
    "fail",
)


def test_setup_stays_within_its_budget_of_tasks() -> None:
    """A set-up that grows slow shows here, as a count and not as a time."""
    done = ansible("ansible-playbook", "setup.yml", "--list-tasks")
    assert done.returncode == 0, done.stderr
    listed = [line for line in done.stdout.splitlines() if "TAGS: [" in line and "play #" not in line]
    assert 20 < len(listed) <= MOST_TASKS, f"setup.yml has {len(listed)} tasks"


def test_a_run_without_changes_calls_few_modules() -> None:
    """Tasks of main.yml and what it imports, without those that wait for a reason to run, are few enough."""
    calls = []
    for role in ("docker", "base_image", "redis", "director", "services", "verify"):
        tasks = ROOT / "roles" / role / "tasks"
        for step in yaml.safe_load((tasks / "main.yml").read_text(encoding="utf-8")):
            imported = step.get("ansible.builtin.import_tasks")
            for task in yaml.safe_load((tasks / imported).read_text(encoding="utf-8")) if imported else [step]:
                name = next(word for word in task if word.startswith(("ansible.builtin.", "rockstat.band."))).rsplit(
                    ".", 1
                )[-1]
                if name not in FREE:
                    calls.append(f"{role}: {task['name']}")
    assert len(calls) <= MOST_CALLS, "\n".join(calls)


@pytest.mark.timeout(240)
def test_the_archive_carries_what_the_roles_need_and_runs_elsewhere(tmp_path: Path) -> None:
    """Built, installed into an empty folder and called by its full name from another one, the collection works."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    env = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "installed"),
        "ANSIBLE_HOME": str(tmp_path / "home"),
    }
    env.pop("ANSIBLE_CONFIG", None)
    tools = Path(sys.executable).parent

    def call(tool: str, *words: str, cwd: Path) -> str:
        command = [str(tools / tool), *words]
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    call("ansible-galaxy", "collection", "build", "--output-path", str(tmp_path), str(ROOT), cwd=elsewhere)
    archive = next(tmp_path.glob("rockstat-band-*.tar.gz"))
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    folders = {name.split("/")[0] for name in names}
    assert {"band_images", "service_src", "roles", "plugins", "playbooks", "docs", "meta"} <= folders
    assert not folders & {"tests", "molecule", "bin", "collections", "benchmarks", "requirements"}
    assert not [name for name in names if "_cache/" in name or name.endswith(".pyc") or name.startswith(".")]
    call(
        "ansible-galaxy",
        "collection",
        "install",
        "--offline",
        "-p",
        str(tmp_path / "installed"),
        str(archive),
        cwd=elsewhere,
    )
    local = ("-i", "localhost,", "-c", "local", "-e", "band_hosts=localhost", "-e", f"band_home={tmp_path}/platform")
    call("ansible-playbook", "rockstat.band.validate", *local, cwd=elsewhere)
    listed = call("ansible-playbook", "rockstat.band.setup", "--list-tasks", *local, cwd=elsewhere)
    assert "rockstat.band.verify" in listed
    home = tmp_path / "installed" / "ansible_collections" / "rockstat" / "band"
    assert (home / "roles" / "base_image" / "tasks" / "sources.yml").is_file()
    assert (home / "service_src" / "band" / "src" / "band" / "templates" / "service" / ".env.example.tmpl").is_file()


def test_every_exception_of_ansible_test_has_its_reason() -> None:
    """tests/sanity/ignore-*.txt sets nothing aside without a word why, and names files that are there."""
    for path in (ROOT / "tests" / "sanity").glob("ignore-*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            rule, _, reason = line.partition(" # ")
            assert reason.strip(), line
            assert (ROOT / rule.split()[0]).is_file(), line
    modules = {path.name for path in (ROOT / "plugins" / "modules").glob("*.py")}
    text = (ROOT / "tests" / "sanity" / "ignore-2.19.txt").read_text(encoding="utf-8")
    assert {name for name in modules if f"/{name} " not in text} == set()


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
        (["front", {"name": "front"}], "Each name may stand once"),
        ([{"name": "front", "limits": {"memory": "much"}}], "The entry front of band_services"),
        ([{"name": "front", "evn": {}}], "The entry front of band_services"),
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
