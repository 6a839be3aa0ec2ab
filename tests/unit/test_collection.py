"""The Ansible collection: what its roles promise of their settings and their form."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from plays import PLAYBOOKS, ROLES, ROOT, ansible, options_of, playbook, roles_of, specs_of, tasks_in


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
    """A public variable begins with band_<role>_ or band_<verb>_ or is a shared one, a constant with _band_<role>_."""
    whose = tuple(f"band_{name}" for name in (role, *(set(specs_of(role)) & set(PLAYBOOKS))))
    for name in options_of(role):
        assert name.startswith(whose) or name in options_of("settings"), name
    constants = ROOT / "roles" / role / "vars" / "main.yml"
    for name in yaml.safe_load(constants.read_text(encoding="utf-8")) if constants.is_file() else []:
        assert name.startswith(f"_band_{role}"), name


@pytest.mark.parametrize("role", ROLES)
def test_a_role_validates_before_it_works(role: str) -> None:
    """tasks/main.yml is a table of contents that begins with a stage that touches nothing."""
    for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 65, f"{path.relative_to(ROOT)} is long"
    if role == "operate":
        # A role of verbs: each is a playbook, of a task or two behind its specification.
        assert set(specs_of(role)) <= set(PLAYBOOKS)
        return
    tasks = yaml.safe_load((ROOT / "roles" / role / "tasks" / "main.yml").read_text(encoding="utf-8"))
    if optional := tasks[0].get("ansible.builtin.include_tasks"):
        # One that is seldom wanted costs nothing where it is not: everything of it stands behind one condition.
        assert tasks[0]["when"]
        tasks = yaml.safe_load((ROOT / "roles" / role / "tasks" / optional).read_text(encoding="utf-8"))
    assert tasks[0].get("ansible.builtin.import_tasks") == "validate.yml"
    assert "validate" in specs_of(role)


def test_the_page_of_variables_is_current() -> None:
    """docs/variables.md is what the roles' specifications say."""
    command = [sys.executable, str(ROOT / "docs" / "tools" / "variables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


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


def test_every_way_into_a_role_is_specified() -> None:
    """What a playbook or a scenario runs with tasks_from has an entry in its role's argument_specs.yml."""
    for path in [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("molecule/**/*.yml")]:
        for task in tasks_in(yaml.safe_load(path.read_text(encoding="utf-8"))):
            call = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role") or {}
            for role in task["loop"] if "{{" in call.get("name", "") else [call.get("name", "").rsplit(".", 1)[-1]]:
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
    shared = set(options_of("settings"))
    for role in ROLES:
        defaults = yaml.safe_load((ROOT / "roles" / role / "defaults" / "main.yml").read_text(encoding="utf-8")) or {}
        taken = {name: re.match(r"\{\{ (\w+) \| default\([^{]*\}\}$", str(value)) for name, value in defaults.items()}
        other = [name for name, found in taken.items() if found and found[1] in shared]
        for path in (ROOT / "roles" / role / "tasks").glob("*.yml"):
            for task in tasks_in(yaml.safe_load(path.read_text(encoding="utf-8"))):
                said = (task.get("ansible.builtin.assert") or {}).get("fail_msg", "")
                named = [name for name in other if re.search(rf"\b{name}\b", re.sub(r"\{\{.*?\}\}", "", said))]
                assert not named, f"{path}: {task['name']}"


@pytest.mark.parametrize("role", ["redis", "director"])
def test_the_core_runs_confined_and_with_a_health_check(role: str) -> None:
    """What docker run is told takes from a container what it does not need, and limits the rest."""
    constants = yaml.safe_load((ROOT / "roles" / role / "vars" / "main.yml").read_text(encoding="utf-8"))
    options = dict(option.partition("=")[::2] for option in constants[f"_band_{role}_options"])
    assert options["--cap-drop"] == "ALL"
    assert options["--security-opt"] == "no-new-privileges"
    assert {"--read-only", "--user", "--pids-limit", "--log-opt", "--health-cmd", "--stop-timeout"} <= set(options)
    assert options["--memory-swap"] == options["--memory"]


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


@pytest.mark.timeout(240)  # several runs of Ansible
def test_passwords_are_generated_once_and_shown_nowhere(tmp_path: Path) -> None:
    """Check mode writes nothing, Redis' users know the hashes, another run finds nothing to do."""
    etc, given = tmp_path / "etc", tmp_path / "given.json"
    uids = dict.fromkeys(("_band_redis_uid", "_band_redis_client_uid"), os.getuid())
    tasks = [{"ansible.builtin.include_role": {"name": "rockstat.band.redis", "tasks_from": "configure"}}]
    path = tmp_path / "configure.yml"
    path.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")

    def configured(*options: str, **more: str) -> tuple[int, str]:
        given.write_text(json.dumps({"band_home": str(tmp_path), **uids, **more}), encoding="utf-8")
        done = ansible("ansible-playbook", str(path), "--diff", "-vvv", *options, "-e", f"@{given}")
        assert done.returncode == 0, done.stdout + done.stderr
        return int(done.stdout.split("changed=")[-1].split()[0]), done.stdout

    assert configured("--check")[0] == 2
    assert not etc.exists()
    etc.mkdir()
    changed, said = configured()
    assert changed == 2
    words = {name.name: name.read_text().strip() for name in etc.glob("*.password")}
    assert {len(word) for word in words.values()} == {40} and len(set(words.values())) == 3
    assert not [word for word in words.values() if word in said]
    users = (etc / "redis.users.acl").read_text()
    for word in words.values():
        assert f" #{hashlib.sha256(word.encode()).hexdigest()} " in users
    assert "+maxmemory-policy noeviction" in said
    assert "user director" not in said
    assert {one.stat().st_mode & 0o777 for one in etc.iterdir()} == {0o600}
    assert configured()[0] == configured("--check")[0] == 0
    canary = "canary-password-4711"
    changed, said = configured(band_redis_password=canary)
    assert changed == 2
    assert canary not in said
    assert hashlib.sha256(canary.encode()).hexdigest() not in said
    assert (etc / "redis.director.password").read_text() == f"{canary}\n"
    assert (etc / "redis.admin.password").read_text().strip() == words["redis.admin.password"]


# What a run of setup.yml on one host may take, as a count: a call of a module there costs a quarter of a second.
# One of them is for check mode only.
MOST_TASKS = 64


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
