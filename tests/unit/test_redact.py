"""The support bundle shows no secret: the filter that every text goes through."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import pytest

from band.telemetry.logs import is_secret_name
from director.redact import _SECRET_KEY as DIRECTOR_RULE

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    """Return a module of plugins/module_utils that needs nothing of Ansible's."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "plugins" / "module_utils" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


redact, settings = load("redact"), load("settings")
CANARY = "c4naryV4lue-0815"


@pytest.mark.parametrize(
    "line",
    [
        f"MIXPANEL_TOKEN={CANARY}",
        f"mixpanel_token: {CANARY}",
        f'{{"api_secret": "{CANARY}"}}',
        f"redis://:{CANARY}@redis:6379/0",
        f"https://user:{CANARY}@example.com/simple",
        f"Authorization: Bearer {CANARY}",
        f"GET /run/front?token={CANARY}&x=1",
        f"requirepass {CANARY}",
        f"MAXMIND_LICENSE_KEY='{CANARY}'",
    ],
)
def test_no_secret_stays_in_a_line(line: str) -> None:
    """Known by value, or by the name before it, or by its place in a URL: it goes."""
    assert CANARY not in redact.Redactor([CANARY]).text(line)


@pytest.mark.parametrize(
    "line",
    [f"TG_TOKEN={CANARY}", f"redis://:{CANARY}@redis", f'"password": "{CANARY}"', f"Bearer {CANARY}"],
)
def test_a_secret_that_nobody_knew_goes_by_its_looks(line: str) -> None:
    """Without knowing the value, the name or the form gives it away."""
    assert CANARY not in redact.Redactor([]).text(line)


@pytest.mark.parametrize(
    "token",
    [
        "123456789:" + "a-B_5" * 7, "ghp_" + "a1B2" * 9, "gho_" + "a1B2" * 9, "github_pat_" + "a1B2_" * 8,
        "xoxb-" + "12345-" * 4, "xoxp-" + "12345-" * 4, "xoxe.xoxp-" + "1-abcDEF" * 3, "xapp-" + "1-A2b3-" * 4,
        "services/T00000000/B00000000/" + "x" * 24, "AKIA" + "Q2" * 8, "ASIA" + "Q2" * 8,
    ],
)  # fmt: skip
def test_well_known_tokens_go_by_their_form(token: str) -> None:
    """Whatever stands before them, and nothing else of the line goes."""
    host = "https://hooks.slack.com/" if token.startswith("services/") else ""
    shown = redact.Redactor([]).text(f"note: sent with {host}{token}, and well")
    assert shown == f"note: sent with {host}[redacted], and well"


def test_objects_are_masked_by_their_keys() -> None:
    """In JSON a key or the name of an environment variable decides, however deep it stands."""
    value = {
        "Config": {"Env": [f"BOT_TOKEN={CANARY}", "PORT=8080"]},
        "deep": [{"client_secret": CANARY, "name": "front"}],
    }
    shown = json.dumps(redact.Redactor([]).value(value))
    assert CANARY not in shown
    assert "PORT=8080" in shown
    assert "front" in shown


def test_what_is_no_secret_stays() -> None:
    """Paths of secret files, short words and ordinary lines are what one looks for in a bundle."""
    lines = (
        "REDIS_PASSWORD_FILE=/run/secrets/redis_password\nfront running ok 127.0.0.1:10001\nlevel=INFO tokens are read"
    )
    assert redact.Redactor(["ok", "1"]).text(lines) == lines


def test_secrets_of_an_environment_are_known_by_name() -> None:
    """The values behind telling names are taken out of every other text too."""
    lines = [
        f"MIXPANEL_API_SECRET={CANARY}",
        "NAME=front",
        "REDIS_PASSWORD_FILE=/run/secrets/x",
        f"REDIS_DSN=redis://:{CANARY}@r",
    ]
    found = redact.secrets_in_environment(lines)
    assert {CANARY, f"redis://:{CANARY}@r"} <= set(found)
    assert "front" not in found


def test_the_rule_is_the_directors() -> None:
    """What the director masks the bundle masks: the two lists of words are one."""
    assert DIRECTOR_RULE.pattern == redact.DIRECTORS_RULE
    assert CANARY not in redact.Redactor([]).text(f"connect MYPASS={CANARY} DB_PWD={CANARY}")


SECRET_NAMES = (
    "MIXPANEL_TOKEN api_secret REDIS_PASSWORD db_passwd LICENSE_KEY licence_key api_key AUTHORIZATION credentials "
    "session_cookie band_token band_redis_password band_backup_passphrase mixpanel_api_secret"
)


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_no_rule_calls_a_secret_what_the_bundle_shows(name: str) -> None:
    """The logs of services and the guard of settings know fewer names; each of those is hidden in the bundle too."""
    assert is_secret_name(name) or settings.SECRET.search(name)
    assert redact.SECRET_NAME.search(name)


def test_what_band_yml_calls_a_secret_is_one() -> None:
    """Whatever its name: hidden where it stands, and known by value, as it is written in JSON and URLs too."""
    odd = 'p"w/d canary'
    declared = redact.declared_secrets({"band.spec": json.dumps({"secrets": ["MOTTO"]})})
    lines = [f"MOTTO={odd}", "PORT=8080", f"UNTOLD={CANARY}", f"BAND_URL=redis://:{CANARY}x@redis:6379/0", "EMPTY="]
    assert redact.shown_environment(lines, declared) == [
        "MOTTO=[redacted]", "PORT=8080", "UNTOLD=[redacted]", "BAND_URL=[redacted]", "EMPTY=",
    ]  # fmt: skip
    redactor = redact.Redactor(redact.secrets_in_environment(lines, declared))
    for text in (odd, json.dumps({"said": odd}), f"GET /?q={quote(odd, safe='')}", f"pw {CANARY}x"):
        assert "canary" not in redactor.text(text).lower()
    assert redact.declared_secrets({"band.spec": "damaged"}) == redact.declared_secrets({}) == frozenset()


def test_settings_show_names_of_an_environment_only() -> None:
    """A service of the inventory that never ran is known by no label."""
    settings = {"band_services": [{"name": "x", "env": {"MOTTO": CANARY, "PORT": 1}}], "band_port": 10000}
    shown = redact.without_environments(settings)
    assert shown["band_services"] == [{"name": "x", "env": {"MOTTO": "[redacted]", "PORT": 1}}]
    assert shown["band_port"] == 10000


LONG = (
    *(
        "y",
        "a.",
        "a-",
        "-",
        "1",
        "é",
        " ",
        "\t",
        "\\n",
        '"',
        "=",
        "/",
        ":",
        "@",
        "a:",
        "://",
        "a://",
        "a://b:",
        "://b:c",
    ),
    *("token", "pass", "token=", "token =", "token ", 'token"', "a=token:", "TOKEN_FILE=/x", "bearer ", "bearer  \t"),
    *("12345678:", "12345678:a", "a b", "{", "x=y&", "s3cret-", "s3cret-canary "),
)


def seconds(redactor: Any, text: str) -> float:
    """Return the lesser processor time of two that masking takes."""
    spent = []
    for _attempt in range(2):
        start = time.process_time()
        redactor.text(text)
        spent.append(time.process_time() - start)
    return min(spent)


@pytest.mark.parametrize("letters", LONG)
def test_a_line_four_times_as_long_takes_four_times_as_long(letters: str) -> None:
    """No line that a service may print, 64 KB or 1 MB of the same letters, holds the bundle up."""
    redactor = redact.Redactor(["s3cret-canary"])
    short, long = (letters * (size // len(letters)) for size in (1 << 16, 1 << 18))
    once = seconds(redactor, short)
    assert once < 1
    assert seconds(redactor, long) < 8 * once + 0.05
    start = time.process_time()
    redactor.text(long * 4)
    assert time.process_time() - start < 32 * once + 0.2


@pytest.mark.parametrize("escaped", [False, True])
def test_each_line_of_a_secret_of_several_goes(*, escaped: bool) -> None:
    """A key that a service prints line by line, though its variable may hold it in one; short lines say nothing."""
    lines = ["-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0B", "c2hvcnQ+canary/8", "brief", "--END--"]
    value = ("\\n" if escaped else "\r\n").join(lines)
    redactor = redact.Redactor(redact.secrets_in_environment([f"TLS_KEY={value}"]))
    shown = redactor.text("\n".join(f"2026-11-27T07:00:00Z {line}" for line in lines))
    assert shown.split("\n") == [f"2026-11-27T07:00:00Z {word}" for word in (*["[redacted]"] * 3, "brief", "--END--")]
    assert "canary" not in redactor.text(quote(lines[2], safe=""))
    assert redactor.text(f"says {json.dumps(value)}") == 'says "[redacted]"'
