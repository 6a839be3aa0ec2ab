"""On hosts with systemd: a unit for each container of the core, which starts it again after `docker kill`."""

from __future__ import annotations

import os
from typing import Any

UNIT = "/etc/systemd/system/rockstat@.service"
RUNS = "/run/systemd/system"
WANTED_BY = ("multi-user.target", "docker.service")
# Docker's own restart policy does not apply after `docker kill`. `docker wait` ends when the container does. The unit
# stops and starts with Docker; otherwise it would start an engine again that somebody has stopped.
TEXT = f"""# Made by Ansible (rockstat.band). To stop the container: systemctl stop rockstat@NAME && docker stop NAME
[Unit]
Description=Rockstat Band: the container %i stays up
Wants=docker.service
After=docker.service
PartOf=docker.service
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh -c 'docker start "$0" >/dev/null && exec docker wait "$0"' %i
StandardOutput=null
Restart=always
RestartSec=2

[Install]
WantedBy={" ".join(WANTED_BY)}
"""


class Watch:
    """The unit of one container; does nothing where systemd does not run."""

    def __init__(self, module: Any, name: str) -> None:
        self._module = module
        self._unit = f"rockstat@{name}.service"
        self.possible = os.path.isdir(RUNS)

    def missing(self) -> bool:
        """Return whether the unit is not written, not enabled or not started."""
        if not self.possible:
            return False
        return not self._written() or not self._enabled() or not self._active()

    def ensure(self) -> None:
        """Write, enable and start it."""
        if not self.possible:
            return
        if not self._written():
            with open(f"{UNIT}.new", "w", encoding="utf-8") as file:
                file.write(TEXT)
            os.chmod(f"{UNIT}.new", 0o644)
            os.replace(f"{UNIT}.new", UNIT)
            self._systemctl("daemon-reload", must=True)
        self._systemctl("enable", "--now", self._unit, must=True)

    def pause(self) -> None:
        """Let the container be stopped without starting it again."""
        if self.possible and self._written():
            self._systemctl("stop", self._unit)

    def _written(self) -> bool:
        try:
            with open(UNIT, encoding="utf-8") as file:
                return file.read() == TEXT
        except FileNotFoundError:
            return False

    def _enabled(self) -> bool:
        # `systemctl is-enabled` is content with the links of an earlier TEXT.
        folder = os.path.dirname(UNIT)
        return all(os.path.islink(f"{folder}/{unit}.wants/{self._unit}") for unit in WANTED_BY)

    def _active(self) -> bool:
        return self._systemctl("is-active", "--quiet", self._unit) == 0

    def _systemctl(self, *args: str, must: bool = False) -> int:
        code, _out, err = self._module.run_command(["systemctl", *args])
        if code and must:
            self._module.fail_json(msg=f"systemctl {' '.join(args)} failed: {err.strip()}", rc=code)
        return int(code)
