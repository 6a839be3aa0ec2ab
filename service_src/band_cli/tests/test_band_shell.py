"""What surrounds the verbs: completion, the authors' verbs, the documentation, and how long a start takes."""

from __future__ import annotations

import os
import re
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest

from band_cli.cli import Options
from band_cli.cli import band as command

ROOT = Path(__file__).resolve().parents[3]


def shell(words: list[str], cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "band_cli", *words],
        env={**os.environ, **env}, cwd=cwd, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_completion_knows_verbs_options_and_services(name: str, director: Any) -> None:
    """What the shell asks for is answered, names of services by the director."""
    assert "_BAND_COMPLETE" in shell([], _BAND_COMPLETE=f"{name}_source").stdout
    asked = {"_BAND_COMPLETE": f"{name}_complete", "BAND_HOST": director.url}
    verbs = shell([], **asked, COMP_WORDS="band re", COMP_CWORD="1").stdout
    assert {"releases", "restart"} <= set(re.findall(r"\w+", verbs))
    services = shell([], **asked, COMP_WORDS="band logs s", COMP_CWORD="2").stdout
    assert {row["name"] for row in director.get("/list")[1]} <= set(re.findall(r"[\w-]+", services))
    assert "--follow" in shell([], **asked, COMP_WORDS="band logs --f", COMP_CWORD="2").stdout
    director.post("/projects/7up", {})
    key = director.get("/projects/7up")[1]["public_keys"][0]
    assert "7up" in shell([], **asked, COMP_WORDS="band project show 7", COMP_CWORD="3").stdout
    assert key in shell([], **asked, COMP_WORDS="band project key 7up --remove pk", COMP_CWORD="5").stdout
    methods = {
        row["name"]: director.get(f"/ask_state/{row['name']}")[1].get("methods") for row in director.get("/list")[1]
    }
    called = next(name for name, known in methods.items() if known)
    offered = shell([], **asked, COMP_WORDS=f"band call {called} ", COMP_CWORD="3").stdout
    assert set(methods[called]) <= set(re.findall(r"\w+", offered))


def test_completion_is_silent_where_nobody_answers() -> None:
    """A Tab neither fails nor waits for long."""
    ran = shell(
        [], _BAND_COMPLETE="bash_complete", BAND_HOST="http://127.0.0.1:1", COMP_WORDS="band logs ", COMP_CWORD="2"
    )
    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "", "")


def test_dev_is_the_frameworks_own_command(tmp_path: Path) -> None:
    """`band dev new` makes a service; the old spelling does too, and says that it goes."""
    new = shell(["dev", "new", "one"], tmp_path)
    assert (new.returncode, new.stderr) == (0, "")
    old = shell(["new", "two"], tmp_path)
    assert (old.returncode, "`band dev new`" in old.stderr) == (0, True)
    assert (tmp_path / "one").is_dir()
    assert (tmp_path / "two").is_dir()
    assert "usage: band dev" in shell(["dev", "--help"]).stdout
    assert "band dev run" in shell(["run"], tmp_path).stderr  # the old `band run` in a service's folder


def test_dev_says_what_is_missing_without_the_framework(tmp_path: Path) -> None:
    """A host has the command alone."""
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); "
        "from importlib import util; found = util.find_spec; "
        "util.find_spec = lambda name, *more: None if name == 'band' else found(name, *more); "
        "from band_cli.cli import main; sys.exit(main(['dev', 'new', 'x']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "service_src/band_cli/src")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "needs the framework" in done.stderr


def test_the_check_of_images_imports_none_of_this() -> None:
    """`python -m band check` stays as light as it was."""
    code = (
        "import sys, runpy; sys.argv = ['band', 'check', '--port', '1']\n"
        "try: runpy.run_module('band', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith(('band_cli', 'click', 'rich'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_commands_of_the_documentation_are_understood() -> None:
    """Each `band …` of docs/cli.md and README.md is parsed: verb, options, arguments."""
    pages = (ROOT / "docs/cli.md").read_text(encoding="utf-8") + (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^band .*$", pages, re.MULTILINE)
    assert len(lines) > 15
    for line in lines:
        words = shlex.split(re.split(r"\s\s+#", line)[0])[1:]
        with click.Context(command, obj=Options()) as top:
            rest = command.make_parser(top).parse_args(list(words))[1]
            name, verb, more = command.resolve_command(top, rest)
            assert verb is not None, line
            verb.make_context(name, more, parent=top)


def test_looking_at_the_services_takes_a_moment(director: Any) -> None:
    """Nothing is imported that `band ps` does not need; 0.4 s is the aim, and this machine may be busy."""
    took = []
    for _ in range(5):
        begun = time.monotonic()
        assert shell(["ps"], BAND_HOST=director.url).returncode == 0
        took.append(time.monotonic() - begun)
    print(f"band ps: {statistics.median(took):.3f} s")
    code = "import sys; from band_cli.cli import main; main(['ps']); print(','.join(sys.modules), file=sys.stderr)"
    env = {**os.environ, "BAND_HOST": director.url}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.strip().split(","))
    assert not loaded & {
        "asyncio",
        "band",
        "pygments",
        "markdown_it",
        "urllib.request",
        "rich.markdown",
        "rich.progress",
    }
