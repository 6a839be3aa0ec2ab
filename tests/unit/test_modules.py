"""All modules: each documents what it takes, its examples run, and check mode says before what they change."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible_modules import ROOT, laid, prepared, run, text_of

MODULES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("band_*.py"))
ACTIONS = {path.stem for path in (ROOT / "plugins" / "action").glob("band_*.py")}
SECRETS = {"mixpanel_token": "canary-token-1", "mixpanel_api_secret": "canary-secret-2"}
DIRECTORS = {"band_services", "band_service_info", "band_event", "band_projects", "band_prune"}
OTHERS = sorted(set(MODULES) - DIRECTORS - ACTIONS)
# These do nothing outside of the folders and the client that a test gives them.
HARMLESS = {"band_erase", "band_exposure", "band_footprint", "band_passwords", "band_restore", "band_support"}


def options_of(doc: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a DOCUMENTATION, with those of the fragments that it extends."""
    options = dict(doc.get("options") or {})
    for fragment in doc.get("extends_documentation_fragment", []):
        name = fragment.removeprefix("rockstat.band.")
        options |= text_of(name, "DOCUMENTATION", "doc_fragments")["options"]
    return options


def examples() -> list[tuple[str, str, dict[str, Any]]]:
    """Return every example that speaks with a director: module, title, arguments."""
    found = []
    for module in sorted(DIRECTORS):
        for task in text_of(module, "EXAMPLES"):
            text = jinja2.Template(yaml.safe_dump(task[f"rockstat.band.{module}"])).render(SECRETS)
            found.append((module, task["name"], yaml.safe_load(text)))
    return found


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
    recaps, changed = [], []
    for options in (["--check"], [], [], ["--check"]):
        if len(recaps) == 3:
            (tmp_path / "collection" / "service_src" / "one" / "file").write_text("another")
        command = [str(Path(sys.executable).parent / "ansible-playbook"), str(playbook), "-v", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=55, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        recaps.append(done.stdout.split("changed=")[-1].split()[0])
        changed.append(re.findall(r"^    - (\S+)$", done.stdout, re.MULTILINE))
        assert (tmp_path / "rockstat" / "source").is_dir() is (len(recaps) > 1)
    assert recaps == ["1", "1", "0", "1"]
    # What a change is about: each image is made of some of the folders.
    assert changed == [*[["band_images/one", "service_src/one"]] * 2, [], ["service_src/one"]]
