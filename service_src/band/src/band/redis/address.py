"""The address of a Redis server.

``redis://[user][:password]@host:port/db``, ``rediss://`` (TLS), ``unix://path?db=0``, or ``memory://name`` for tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import msgspec

from band.errors import SettingsError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 6379
DEFAULT_DSN = f"redis://{DEFAULT_HOST}:{DEFAULT_PORT}"


class RedisAddress(msgspec.Struct, frozen=True):
    """Where a Redis server is and how to enter. Its text never shows the password.

    Attributes:
        host: name or address.
        port: TCP port.
        db: number of the database.
        username: empty: the default user.
        password: empty: none.
        tls: whether the connection is encrypted.
        path: of a Unix socket, instead of host and port.
        memory: name of a bus inside this process, instead of a server; for tests.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    db: int = 0
    username: str = ""
    password: str = ""
    tls: bool = False
    path: str = ""
    memory: str = ""

    def __repr__(self) -> str:
        return f"RedisAddress({self})"

    def __str__(self) -> str:
        if self.memory:
            return f"memory://{self.memory}"
        return (
            f"unix://{self.path}"
            if self.path
            else f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}/{self.db}"
        )

    @classmethod
    def parse(cls, dsn: str) -> RedisAddress:
        """Return the address in ``dsn``.

        Raises:
            SettingsError: it is not a valid address; the text does not contain the password.
        """
        problem = "it is not a URL"
        try:
            parts = urlsplit(dsn)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            username, password = unquote(parts.username or ""), unquote(parts.password or "")
            if parts.scheme == "memory":
                return cls(memory=parts.netloc or "default")
            if parts.scheme not in ("redis", "rediss", "unix"):
                problem = "its scheme is not redis, rediss or unix"
                raise ValueError(problem)
            problem = "the database after the / is not a number"
            unix = parts.scheme == "unix"
            db = int(query.get("db", "0") if unix else parts.path.strip("/") or query.get("db", "0"))
            if unix:
                return cls(db=db, username=username, password=password, path=unquote(parts.path))
            problem = "the port after the : is not a number"
            host, port = parts.hostname or DEFAULT_HOST, parts.port or DEFAULT_PORT
        except ValueError:  # its text may contain a piece of the password
            raise SettingsError(
                f"REDIS_DSN is not an address of Redis: {problem}; write redis://:PASSWORD@HOST:6379/0, "
                "with special characters of the password percent-encoded"
            ) from None
        return cls(host, port, db, username, password, parts.scheme == "rediss")


def dsn_from_env(env: Mapping[str, str]) -> str:
    """Return the DSN that an environment describes.

    ``REDIS_DSN`` or ``REDIS_URL``; else ``REDIS_HOST`` with ``REDIS_PORT``, ``REDIS_DB``, ``REDIS_USER`` and
    ``REDIS_PASSWORD`` or ``REDIS_PASSWORD_FILE`` (a file that holds only the password); else this host's default port.

    Raises:
        SettingsError: the password file cannot be read.
    """
    whole = env.get("REDIS_DSN") or env.get("REDIS_URL")
    if whole:
        return whole
    host = env.get("REDIS_HOST")
    if not host:
        return DEFAULT_DSN
    password = env.get("REDIS_PASSWORD", "")
    file = env.get("REDIS_PASSWORD_FILE")
    if file:
        try:
            password = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise SettingsError(
                f"REDIS_PASSWORD_FILE={file} cannot be read: {error.strerror}; mount it, or unset it"
            ) from None
    user = quote(env.get("REDIS_USER", ""), safe="")
    secret = f"{user}:{quote(password, safe='')}@" if password or user else ""
    return f"redis://{secret}{host}:{env.get('REDIS_PORT') or 6379}/{env.get('REDIS_DB') or 0}"
