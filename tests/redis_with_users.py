"""A redis-server with the users of the playbook, as the role `redis` starts it, and users of services."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hiredis
import jinja2

from director.redis.users import rules_of

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "roles/redis/templates/users.acl.j2"
ADMIN, DIRECTOR, SERVICE = "canary-admin-password", "canary-director-password", "canary-service-password"
BEFORE = "canary-password-of-before"
"""What all signed in with before there were users."""


def users_of_the_playbook(namespace: str, director: str = DIRECTOR) -> str:
    """Return the template of the role, filled in."""
    passwords = {"redis.admin.password": ADMIN, "redis.director.password": director, "redis.password": BEFORE}
    hashes = {name: hashlib.sha256(password.encode()).hexdigest() for name, password in passwords.items()}
    template = jinja2.Template(TEMPLATE.read_text(), undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return template.render(band_redis_namespace=namespace, _band_redis_hashes=hashes)


def free_port() -> int:
    """Return a TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Client:
    """One connection that waits for each reply; errors are replies too."""

    def __init__(self, port: int, user: str = "", password: str = "") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 30)
        self._reader: Any = hiredis.Reader()
        if user:
            assert self(b"AUTH", user, password) == b"OK"

    def __call__(self, *parts: Any) -> Any:
        self._socket.sendall(hiredis.pack_command(parts))
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(65536)
            assert data, "Redis closed the connection"
            self._reader.feed(data)
        return reply

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()


class RedisWithUsers:
    """Redis in a folder of its own, which survives a restart."""

    def __init__(
        self,
        folder: Path,
        port: int,
        namespace: str = "rockstat",
        *,
        default: str = "off",
        addresses: Sequence[str] = (),
    ) -> None:
        self.folder, self.port, self.namespace = folder, port, namespace
        self._addresses = ("127.0.0.1", *addresses)
        self.protected = True
        """Whether Redis refuses connections from elsewhere while `default` has no password (protected-mode)."""
        self.users = folder / "users.acl"
        self.write_users(default=default)
        self._process: subprocess.Popen[bytes] | None = None

    def write_users(self, director: str = DIRECTOR, *, default: str = "off", kept: str = "") -> None:
        """Write the file of users: the playbook's, `default` as it is to be, and lines of before."""
        given = users_of_the_playbook(self.namespace, director).splitlines(keepends=True)
        text = "".join(line for line in given if not line.startswith("user default "))
        self.users.write_text(f"{text}user default {default}\n{kept}")

    def start(self) -> None:
        """Start it and wait for an answer."""
        binary = shutil.which("redis-server")
        assert binary, "redis-server is missing; bin/test installs Debian's package"
        command = [binary, "--port", str(self.port), "--bind", *self._addresses, "--dir", str(self.folder)]
        command += ["--appendonly", "yes", "--save", "", "--aclfile", str(self.users), "--busy-reply-threshold", "1000"]
        command += ["--protected-mode", "yes" if self.protected else "no"]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log)
        deadline = time.monotonic() + 15
        while True:
            with contextlib.suppress(OSError), self.admin() as admin:
                if admin("PING") == b"PONG":  # not while it loads its file
                    return
            assert time.monotonic() < deadline and self._process.poll() is None, "redis-server did not start"
            time.sleep(0.02)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def admin(self) -> Client:
        """Return a connection that may do everything."""
        return Client(self.port, "admin", ADMIN)

    def admit(self, service: str, *keys: str) -> str:
        """Make a service's user as the director does, and return its address."""
        with self.admin() as admin:
            rules = rules_of(service, keys, self.namespace)
            assert admin("ACL", "SETUSER", f"{service}.0a1b2c3d", "reset", "on", f">{SERVICE}", *rules) == b"OK"
        return self.dsn(f"{service}.0a1b2c3d", SERVICE)

    def refusals(self) -> list[str]:
        """Return what Redis refused so far to whom, and forget it: `user: reason object`."""
        with self.admin() as admin:
            entries = [dict(zip(entry[::2], entry[1::2], strict=True)) for entry in admin("ACL", "LOG", "128")]
            admin("ACL", "LOG", "RESET")
        return sorted(
            {" ".join(str(entry[key], "utf-8") for key in (b"username", b"reason", b"object")) for entry in entries}
        )

    def dsn(self, user: str = "director", password: str = DIRECTOR, host: str = "127.0.0.1") -> str:
        return f"redis://{user}:{password}@{host}:{self.port}/0"
