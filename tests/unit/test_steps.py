"""What people see while a playbook runs: a line for each step, everything on failure and with -v."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from plays import ROOT

PLAY = """
- name: Validate the settings
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Look
      ansible.builtin.command: "true"
      changed_when: false
- name: Something
  hosts: localhost
  gather_facts: false
  roles: [docker, redis, proxy]
  tasks:
    - name: Report
      ansible.builtin.debug:
        msg: |-
          A test event passed
            id  77
    - name: Secret
      ansible.builtin.debug: {msg: canary}
      no_log: true
"""

LOOK = """
- name: Look
  ansible.builtin.command: "true"
  changed_when: false
"""
NOTHING = """
- name: The setting is a good one
  ansible.builtin.assert: {that: true}
- name: Run it
  ansible.builtin.command: "true"
  when: false
"""


@pytest.fixture
def play(tmp_path: Path) -> Path:
    for role, task in (("docker", "command: 'true'"), ("redis", "fail: {msg: no luck}")):
        tasks = tmp_path / "roles" / role / "tasks"
        tasks.mkdir(parents=True)
        when = "  when: broken | default(false) | bool\n" if role == "redis" else ""
        (tasks / "main.yml").write_text(f"- name: Install {role}\n  ansible.builtin.{task}\n{when}")
    redis, proxy = (tmp_path / "roles" / role / "tasks" / "main.yml" for role in ("redis", "proxy"))
    redis.write_text(redis.read_text() + LOOK)
    proxy.parent.mkdir(parents=True)
    proxy.write_text(NOTHING)
    (tmp_path / "play.yml").write_text(PLAY)
    return tmp_path / "play.yml"


def command(play: Path, *options: str) -> tuple[list[str], dict[str, str]]:
    env = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
    }
    words = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        "localhost,",
        "-c",
        "local",
        str(play),
        *options,
    ]
    return words, {**env, "TERM": "xterm"}


def output(play: Path, *options: str) -> str:
    words, env = command(play, *options)
    done = subprocess.run(words, env=env, cwd=play.parent, capture_output=True, text=True, timeout=50, check=False)
    return done.stdout + done.stderr


def test_a_step_is_a_line_with_its_time(play: Path) -> None:
    """Steps in their order, the message as it is, and the count of Ansible; no task, no escape sequence.

    The proxy, which is not wanted and only checked its settings, has no line.
    """
    text = output(play)
    steps = re.findall(r"^✓ (.+) \d+ s(.*)$", text, re.MULTILINE)
    assert steps == [("Validate the settings", ""), ("Docker", ", 1 changed"), ("Redis", "")]
    assert "\nA test event passed\n  id  77\n" in text
    assert "canary" not in text
    assert "TASK" not in text
    assert "changed=1 " in text
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_failure_is_told_whole(play: Path) -> None:
    """The step that failed, and all that Ansible says of it."""
    text = output(play, "-e", "broken=true")
    assert re.search(r"^✗ Redis \d+ s$", text, re.MULTILINE)
    assert "TASK [redis : Install redis]" in text
    assert "no luck" in text
    assert "failed=1" in text


def test_a_step_that_fails_on_one_host_of_two_has_one_line(play: Path) -> None:
    """The other host goes on with the step, which does not come back as one that is done."""
    tasks = play.parent / "roles" / "redis" / "tasks" / "main.yml"
    more = "- name: Go on\n  ansible.builtin.command: 'true'\n"
    tasks.write_text(tasks.read_text().replace("broken", "inventory_hostname == 'one' or broken") + more)
    play.write_text(PLAY.replace("hosts: localhost", "hosts: all"))
    text = output(play, "-i", "one,two,")
    assert re.findall(r"^(.) Redis", text, re.MULTILINE) == ["✗"]
    assert "A test event passed" in text


@pytest.mark.parametrize("option", ["-v", "--check"])
def test_those_who_want_all_get_ansibles_own_output(play: Path, option: str) -> None:
    """With -v, and in check mode, whose point is what would change."""
    text = output(play, option)
    assert "PLAY [Something]" in text
    assert "✓" not in text


def on_terminal(play: Path, *options: str, columns: int = 80, interrupt_at: str = "") -> str:
    """Run it on a terminal, and return everything that was drawn; Ctrl-C once this is seen, if given."""
    near, far = pty.openpty()
    termios.tcsetwinsize(far, (25, columns))
    words, env = command(play, *options)
    process = subprocess.Popen(words, env=env, cwd=play.parent, stdout=far, stderr=far)
    os.close(far)
    text = b""
    while True:
        try:
            text += os.read(near, 65536)
        except OSError:  # Linux' way to say that nobody has the other end any more
            break
        if interrupt_at and interrupt_at in text.decode(errors="replace"):
            process.send_signal(signal.SIGINT)
            interrupt_at = ""
    os.close(near)
    process.wait(20)
    return text.decode()


def test_on_a_terminal_the_last_line_tells_what_is_done(play: Path) -> None:
    """It is drawn over, and gone in the end. The steps have said what Ansible counted."""
    shown = on_terminal(play)
    assert "… Docker 0 s: Install docker\r" in shown
    assert "✓ Docker" in shown
    assert "The setting is a good one" not in shown
    assert "RECAP" not in shown


def test_on_a_terminal_what_failed_is_counted(play: Path) -> None:
    """As are the hosts of several."""
    assert "failed=1" in on_terminal(play, "-e", "broken=true")
    play.write_text(PLAY.replace("hosts: localhost", "hosts: all"))
    assert "two" in on_terminal(play, "-i", "one,two,").partition("RECAP")[2]


def test_what_ansible_itself_says_stands_on_a_line_of_its_own(play: Path) -> None:
    """A warning, or that the run was interrupted: nothing of the last line is left beside it."""
    tasks = play.parent / "roles" / "docker" / "tasks" / "main.yml"
    tasks.write_text("- name: Wait for a while\n  ansible.builtin.command: sleep 20\n")
    shown = on_terminal(play, interrupt_at="Wait for a while")
    before = shown[: shown.index("User interrupted")].rpartition("\r\x1b[K")[2]
    assert "…" not in before, shown[-300:]


def test_a_narrow_terminal_shows_the_seconds_and_as_much_as_fits(play: Path) -> None:
    """The last line never wraps: what is left out is marked."""
    tasks = play.parent / "roles" / "docker" / "tasks" / "main.yml"
    tasks.write_text(tasks.read_text().replace("Install docker", "Install Docker from the packages of Debian"))
    assert "… Docker 0 s: Install Docker from the p…\r" in on_terminal(play, columns=41)


def test_a_task_that_shows_its_difference_does_so_only_when_asked() -> None:
    """`diff: true` on a task shows it in every run."""
    for path in (ROOT / "roles").glob("*/tasks/*.yml"):
        for line in re.findall(r"^ +diff: (.*)$", path.read_text(), re.MULTILINE):
            assert line == "false" or "ansible_diff_mode" in line, path


def test_a_build_is_seen_while_it_runs_and_its_log_is_told_when_it_fails(tmp_path: Path) -> None:
    """What it prints stands in a file for the last line, which is gone afterwards; the module still has all of it."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.rockstat.band.plugins.callback import steps
    from ansible_collections.rockstat.band.plugins.module_utils import docker_cli

    docker, path = tmp_path / "docker", tmp_path / "progress"
    printed = ["#7 [2/5] RUN pip install x", "#7 1.52 Collecting x"]
    lines = [*(f"echo '{line}' >&2" for line in printed), f"cp {path} {path}.seen", "exit 3"]
    docker.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    docker.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", env["PATH"])
        patch.setattr(steps, "PROGRESS", str(path))
        assert steps._progress() == ""
        with docker_cli.progress_file(str(path)) as file:
            assert docker_cli.run("build", ".", stderr=file, env=env).code == 3
            assert steps._progress() == "Collecting x"
            file.seek(0)
            assert b"[2/5] RUN pip install x" in file.read()
    assert not path.exists()
    assert "Collecting" in Path(f"{path}.seen").read_text()


def test_lines_of_a_run_are_seen_with_the_services_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What BuildKit puts before a line is left out; a line that comes too late is nobody's fault."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.rockstat.band.plugins.callback import steps
    from ansible_collections.rockstat.band.plugins.module_utils import docker_cli

    monkeypatch.setattr(steps, "PROGRESS", str(tmp_path / "progress"))
    with docker_cli.progress_lines(steps.PROGRESS) as tell:
        for line in ("mmgeo: #7 1.52 Collecting x", "mmgeo: database: downloading from dbip, 12 of 48 MB"):
            tell(line)
            assert steps._progress() == line.replace("#7 1.52 ", "")
    tell("late")
    assert steps._progress() == ""


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("#9 [ 3/10] RUN set -eu;     if x;   then y\n#9 0.922\n\n", "[ 3/10] RUN set -eu; if x; then y"),
        ("mmgeo: #8 [2/4] COPY . .\nmmgeo: #8 DONE 1.2s\nmmgeo: #7 CACHED\n", "mmgeo: [2/4] COPY . ."),
        ("dlstatus:3:45.2:Retrieving file 3 of 24 (12s remaining)\n", "Retrieving file 3 of 24 (12s remaining)"),
        ("pmstatus:docker.io:33.3:Unpacking docker.io (amd64)\n", "Unpacking docker.io (amd64)"),
        ("I: downloading packages with apt...\n", "downloading packages with apt..."),
        ("#8 DONE 0.1s\n", ""),
    ],
)
def test_the_last_line_that_tells_something_is_seen(
    printed: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that a step of BuildKit is done, nor an empty line; and without the numbers that programs read."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.rockstat.band.plugins.callback import steps

    (tmp_path / "progress").write_text(printed)
    monkeypatch.setattr(steps, "PROGRESS", str(tmp_path / "progress"))
    assert steps._progress() == shown


def test_a_progress_file_that_cannot_be_is_done_without(tmp_path: Path) -> None:
    """A link that somebody laid there is not followed."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.rockstat.band.plugins.module_utils import docker_cli

    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with docker_cli.progress_file(str(tmp_path / "link")) as file:
        file.write(b"x")
    assert not (tmp_path / "precious").exists()
