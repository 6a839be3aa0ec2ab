"""Prints each step with its duration, messages unchanged, and Ansible's own output on failure and with -v."""

from __future__ import annotations

DOCUMENTATION = r"""
name: steps
type: stdout
short_description: Print a line for each step of a playbook, with its duration
version_added: 0.1.0
description:
  - Prints a line for each role when it is done, with the seconds that it took and the number of changes.
  - On a terminal, the last line shows the current task and its elapsed time.
  - Prints messages of C(ansible.builtin.debug) unchanged.
  - Prints failures as P(ansible.builtin.default#callback) does, and everything with C(-v), C(--check) or C(--diff).
  - On a terminal, leaves out Ansible's count of tasks where one host was set up and nothing failed.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
author: The Rockstat Band founders (@rockstat)
"""

import os
import re
import sys
import threading
import time
from typing import Any

from ansible import constants, context
from ansible.plugins.callback.default import CallbackModule as Default
from ansible_collections.rockstat.band.plugins.module_utils.docker_cli import PROGRESS

TITLES = {
    "docker": "Docker", "base_image": "Base image", "redis": "Redis", "director": "Director", "services": "Services",
    "cli": "band command", "proxy": "Proxy", "verify": "Test event", "backup": "Backup", "bundle": "Bundle",
    "uninstall": "Uninstall", "offline": "Bundle", "settings": "Settings",
}  # fmt: skip
DEBUG = frozenset({"debug", "ansible.builtin.debug"})
CHECKS = DEBUG | {
    "ansible.builtin.assert", "ansible.builtin.validate_argument_spec", "rockstat.band.band_settings",
}  # fmt: skip
"""Actions that only look at variables. They take no time, and a step without any other gets no line."""
BUILDKIT = re.compile(r"^([\w-]+: )?#\d+(?: \d+\.\d+)?(?: (?:DONE \d.*|CACHED|\.\.\.)$)?")
"""What BuildKit puts before a line, or a whole line that only says that a step has ended."""
APT = re.compile(r"^(?:[dp][lm]status:[^:]*:[\d.]+:|I: )")
"""What apt puts before a line of its Status-Fd, and mmdebstrap before its lines."""
TICK_SECONDS = 1.0


class Step:
    """The subject of one line."""

    def __init__(self, key: str, title: str) -> None:
        self.key = key
        self.title = title
        self.task = ""
        self.changes = 0
        self.worked = False  # one that only checked variables, or had something to say, needs no line
        self.begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """The time it has taken."""
        return time.monotonic() - self.begun

    def done(self) -> str:
        """Return the line of a step that is done."""
        changes = f", {self.changes} changed" if self.changes else ""
        return f"✓ {self.title} {self.seconds:.0f} s{changes}"


class LastLine:
    """The last line of a terminal, which shows the current task; without a terminal it shows nothing.

    It is written past Python's own buffers, whose locks a forked worker could inherit.
    """

    def __init__(self) -> None:
        self._on = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = False
        self._step: Step | None = None
        self._drawing = threading.Lock()
        if self._on:
            threading.Thread(target=self._tick, daemon=True, name="steps").start()

    def show(self, step: Step | None) -> None:
        """Show this step from now on, or nothing for None."""
        with self._drawing:
            self._step = step
            self._draw()

    def stay_below(self, display: Any) -> None:
        """Erase it before whatever is printed, Ansible's own warnings too; the next tick draws it below."""
        write, here = display.display, os.getpid()

        def display_above(*words: Any, **more: Any) -> None:
            # A forked worker hands its messages to this process, and may have inherited the lock.
            if os.getpid() == here:
                with self._drawing:
                    step, self._step = self._step, None
                    self._draw()
                    self._step = step
            write(*words, **more)

        if self._on:
            display.display = display_above

    def _tick(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)
            with self._drawing:
                self._draw()

    def _draw(self) -> None:
        step = self._step
        if not self._on or (step is None and not self._shown):
            return
        text = "" if step is None else f"… {step.title} {step.seconds:.0f} s{_about(step)}"
        width = max(20, os.get_terminal_size(sys.stdout.fileno()).columns - 1) if text else 0
        self._shown = bool(text)
        os.write(sys.stdout.fileno(), f"\r\x1b[K{text if len(text) <= width else f'{text[: width - 1]}…'}\r".encode())


def _about(step: Step) -> str:
    """Return what is done: the progress of a long task if there is any, otherwise the task."""
    words = _progress() or step.task
    return f": {words}" if words else ""


def _progress() -> str:
    """Return the last line that a long task on this machine printed, if one runs."""
    try:
        with open(PROGRESS, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next(filter(None, map(_words, reversed(lines))), "")


def _words(line: str) -> str:
    """Return the line for people; empty for one that tells them nothing."""
    service, text = "", APT.sub("", line.strip())
    if prefix := BUILDKIT.match(text):
        service, text = prefix[1] or "", text[prefix.end() :]
    text = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return service + text if text else ""


class CallbackModule(Default):
    """Prints steps, and leaves to Ansible's own callback what people have to see in full."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "rockstat.band.steps"

    def __init__(self) -> None:
        super().__init__()
        self._step: Step | None = None
        self._last_line: LastLine | None = None
        self._told = ""  # the step whose message stands already: what little follows it needs no line
        self._failed = ""  # the step that failed on a host: other hosts go on with it, and it has its line

    @property
    def _loud(self) -> bool:
        return bool(self._display.verbosity or context.CLIARGS.get("check") or context.CLIARGS.get("diff"))

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Start a play, which ends the step before."""
        if self._loud:
            super().v2_playbook_on_play_start(play)
            return
        self._play = play
        self._end_step()
        self._told = self._failed = ""

    def _task_start(self, task: Any, prefix: str | None = None) -> None:
        if self._loud:
            super()._task_start(task, prefix)
            return
        if prefix is not None:
            self._task_type_cache[task._uuid] = prefix
        self._last_task_name = task.get_name().strip()
        key, title = self._step_of(task)
        if key == self._failed:
            return
        if self._step is None or self._step.key != key:
            self._end_step()
            self._step, self._failed = Step(key, title), ""
        if task.action not in CHECKS:
            self._step.task = self._last_task_name.rpartition(" : ")[2]
        if self._last_line is None:
            self._last_line = LastLine()
            self._last_line.stay_below(self._display)
        self._last_line.show(self._step)

    def _step_of(self, task: Any) -> tuple[str, str]:
        """Return key and title: a role is a step, and so are the tasks of a play that belong to none of ours."""
        play = self._play.get_name().strip()
        role = task._role.get_name().rpartition(".")[2] if task._role else ""
        if role in TITLES and not play.startswith("Validate"):
            return role, TITLES[role]
        return play, play

    def _end_step(self) -> None:
        step, self._step = self._step, None
        self._clear()
        if step is not None and (step.changes or (step.worked and step.key != self._told)):
            self._display.display(step.done(), color=constants.COLOR_CHANGED if step.changes else constants.COLOR_OK)

    def _fail_step(self) -> None:
        """Print which step failed, once; Ansible's own output follows."""
        step, self._step = self._step, None
        self._clear()
        if step is not None:
            self._failed = step.key
            self._display.display(f"✗ {step.title} {step.seconds:.0f} s", color=constants.COLOR_ERROR)

    def _clear(self) -> None:
        if self._last_line is not None:
            self._last_line.show(None)

    def v2_runner_on_ok(self, result: Any) -> None:
        """Count a change; print a message."""
        if self._loud:
            super().v2_runner_on_ok(result)
            return
        self._handle_warnings_and_exception(result)
        if self._step is not None:
            self._step.worked = self._step.worked or result.task.action not in CHECKS
            self._step.changes += bool(result.result.get("changed"))
        if "results" not in result.result:
            self._say(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Print the message of one item of a loop."""
        if self._loud:
            super().v2_runner_item_on_ok(result)
            return
        self._handle_warnings_and_exception(result)
        self._say(result)

    def _say(self, result: Any) -> None:
        message = result.result.get("msg")
        if result.task.action in DEBUG and message:
            told = self._step.key if self._step else ""
            self._end_step()
            self._told = told
            lines = message if isinstance(message, list) else [message]
            self._display.display("\n" + "\n".join(str(line) for line in lines).rstrip() + "\n")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Name the step, and print Ansible's own output."""
        if not self._loud and not ignore_errors:
            self._fail_step()
        super().v2_runner_on_failed(result, ignore_errors)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Do the same for an item of a loop."""
        if not self._loud:
            self._fail_step()
        super().v2_runner_item_on_failed(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Do the same for a host that does not answer."""
        if not self._loud:
            self._fail_step()
        super().v2_runner_on_unreachable(result)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        """Print nothing about included files."""
        if self._loud:
            super().v2_playbook_on_include(included_file)

    def v2_runner_retry(self, result: Any) -> None:
        """Print nothing about retries: the last line counts the seconds."""
        if self._loud:
            super().v2_runner_retry(result)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        """End the last line before Ansible says so."""
        self._clear()
        super().v2_playbook_on_no_hosts_remaining()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """End the last step; then what Ansible counted, where that says more than the steps, or programs read it."""
        if not self._loud:
            self._end_step()
            if sys.stdout.isatty() and len(stats.processed) == 1 and not (stats.failures or stats.dark):
                self._display.display("")
                return
        super().v2_playbook_on_stats(stats)
