"""The director to ask and its token: from options, the environment and the configuration files.

A token goes only to the director that it was given for: one of a file to the host that the same file names.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from band_cli.errors import BadInput

DEFAULT_HOST = "http://127.0.0.1:10000"
HOST_CONFIG = "BAND_HOST_CONFIG"
"""The variable with the path of the file that the role wrote on the platform's host; the launcher sets it."""
_KEYS = {"host", "token", "token_file", "ca_file"}


@dataclass(frozen=True)
class Target:
    """A director: its address without a trailing slash, the token (empty for none), and a CA file to trust."""

    url: str = DEFAULT_HOST
    token: str = ""
    ca_file: str = ""

    def __repr__(self) -> str:
        """Return it without the token."""
        return f"Target({self.url!r})"


def find_target(
    env: Mapping[str, str], *, host: str | None = None, token_file: str | None = None, ca_file: str | None = None
) -> Target:
    """Return the director to ask: options win over the environment, that over the user's file, that over the host's.

    Raises:
        BadInput: an address, a file or a key of a file cannot be used.
    """
    files = [read_config(path, host=path == env.get(HOST_CONFIG)) for path in config_files(env)]
    named = host or env.get("BAND_HOST") or next((file["host"] for file in files if file.get("host")), "")
    url = check_url(named or DEFAULT_HOST)
    fitting = [file for file in files if check_url(file.get("host") or DEFAULT_HOST) == url]
    token = _read_token(token_file) if token_file else _token_of(env, "BAND_TOKEN", "BAND_TOKEN_FILE")
    for file in fitting:
        token = token or _token_of(file, "token", "token_file")
    if not (token.isascii() and token.isprintable()):
        raise BadInput("the token is not one line of ASCII", "pass a file that contains only the token")
    trusted = ca_file or env.get("BAND_CA_FILE") or next((f["ca_file"] for f in fitting if f.get("ca_file")), "")
    return Target(url, token, str(Path(trusted).expanduser()) if trusted else "")


def config_files(env: Mapping[str, str]) -> list[str]:
    """Return the existing configuration files: the user's own, then the host's."""
    home = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME") or "~").expanduser() / ".config")
    own = env.get("BAND_CONFIG") or str(Path(home) / "band" / "config")
    return [path for path in (own, env.get(HOST_CONFIG, "")) if os.path.isfile(path)]  # noqa: PTH113 - Path raises where a folder may not be entered


def read_config(path: str, *, host: bool) -> dict[str, str]:
    """Return the settings of a file with lines `key = value`; none of the `host`'s own if we may not read it.

    Raises:
        BadInput: it cannot be read, or has a key that is no setting.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string("[band]\n" + Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error) as error:
        if host and isinstance(error, PermissionError):
            return {}  # we are not root: whoever needs what is in it is told by the director
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"{path} cannot be read: {reason}", "write lines such as host = https://band.example.com"
        ) from error
    found = dict(parser["band"])
    if unknown := sorted(set(found) - _KEYS):
        raise BadInput(
            f"{path} sets {unknown[0]!r}, which is not a setting", f"settings are {', '.join(sorted(_KEYS))}"
        )
    return found


def check_url(host: str) -> str:
    """Return an address as a URL: `band.example.com` is https, an address of this machine http.

    Raises:
        BadInput: it is none.
    """
    text = host if "://" in host else f"{'http' if is_loopback(host) else 'https'}://{host}"
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0 and not parts.username
    except ValueError:
        good = False
    if not good:
        raise BadInput(
            f"{host!r} is not the address of a director", "write https://band.example.com, or http://127.0.0.1:10000"
        )
    return text.rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether an address (with or without scheme and port) is this machine's own."""
    name = urlsplit(host if "://" in host else f"//{host}").hostname or ""
    return name in {"localhost", "::1"} or name.startswith("127.")


def _token_of(settings: Mapping[str, str], key: str, file_key: str) -> str:
    if settings.get(key):
        return settings[key].strip()
    return _read_token(settings[file_key]) if settings.get(file_key) else ""


def _read_token(file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").strip()
    except PermissionError:
        raise BadInput(
            f"the token is in {file}, which you may not read", "use sudo, or put the token into BAND_TOKEN"
        ) from None
    except (OSError, UnicodeError) as error:
        raise BadInput(
            f"the token cannot be read from {file}: {getattr(error, 'strerror', None) or error}",
            "pass a file that contains the token",
        ) from error
