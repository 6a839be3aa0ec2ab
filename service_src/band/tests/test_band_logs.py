"""Logs: the original's call forms, and no secret in any of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import structlog

from band.telemetry import logs
from band.telemetry.logs import configure_logs, is_secret_name, know_secrets, logger, mask, mask_text

BOT = "123456789:AAF-abcdefghijklmnopqrstuvwxyz_0123456"


@pytest.fixture(autouse=True)
def restore_logs():
    """Leave the process's logging as it was."""
    yield
    know_secrets({})
    structlog.reset_defaults()


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_positional_and_keyword_extras(capsys):
    """Services of the original write `logger.info("text", value, key=value)`."""
    configure_logs("debug", as_json=True)
    logger.info("plain", 1, {"a": 2}, key="v")
    logger.debug("of %s and %d", "text", 5)
    logger.warn("100% done", "extra")
    logger.info({"an": "object"})
    logger.error("50%", key=1)
    found = lines(capsys)
    assert (found[0]["event"], found[0]["extra"], found[0]["key"], found[0]["level"]) == (
        "plain",
        [1, {"a": 2}],
        "v",
        "info",
    )
    assert found[1]["event"] == "of text and 5"
    assert (found[2]["event"], found[2]["extra"], found[2]["level"]) == ("100% done", ["extra"], "warning")
    assert found[3]["event"] == {"an": "object"}
    assert found[4]["event"] == "50%"


def test_an_entry_and_its_newline_are_one_write():
    """The processes of front share their output: entries of two would run into each other."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # a packet for each write
    code = "from band.telemetry.logs import configure_logs, logger; configure_logs('info'); logger.info('one')"
    with ours, theirs:
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}  # as in the base image
        subprocess.run([sys.executable, "-c", code], stdout=theirs, env=env, timeout=20, check=True)
        first = ours.recv(65536).decode()
    assert "one" in first
    assert first.endswith("\n")


def test_level_and_bound_values(capsys):
    """LOG_LEVEL is obeyed; bound loggers keep taking extras; an unknown level is INFO."""
    configure_logs("nonsense", as_json=True)
    logger.debug("hidden")
    logger.bind(service="s").info("shown", 5)
    (found,) = lines(capsys)
    assert (found["event"], found["service"], found["extra"]) == ("shown", "s", [5])


def test_exceptions_are_logged_with_their_stack_and_without_secrets(capsys):
    """The stack is for the log only; addresses in it lose their passwords."""
    configure_logs("info", as_json=True)
    try:
        raise ValueError("redis://u:hunter2@h/0")
    except ValueError:
        logger.exception("failed", 1)
    (found,) = lines(capsys)
    assert "Traceback" in found["exception"]
    assert "hunter2" not in json.dumps(found)


def test_secrets_are_masked_in_every_place(capsys):
    """By key name at any depth, inside URLs, in queries, as bot tokens, and by known value."""
    configure_logs("info", as_json=True)
    know_secrets(
        {"MIXPANEL_TOKEN": "hunter2canary", "NOT_HIDDEN": "visible-value", "X_PASSWORD_FILE": "/run/secret-file"}
    )
    logger.info(
        "with hunter2canary inside", {"list": [{"api_key": "hunter2"}]}, password="hunter2",
        url="https://a.b/c?x=1&token=hunter2&y=2", dsn="redis://:hunter2@h", bot=f"https://api/bot{BOT}/send",
        nested={"Authorization": "hunter2", "ok": "visible-value"}, file="/run/secret-file",
    )  # fmt: skip
    text = capsys.readouterr().out
    assert "hunter2" not in text
    assert BOT not in text
    assert "x=1&token=***&y=2" in text
    assert "visible-value" in text
    assert "/run/secret-file" in text


def test_declared_secrets_and_each_line_of_a_long_one_are_masked():
    """`secrets:` of band.yml names what does not look secret; the lines of a key are told one by one in JSON."""
    key = "-----BEGIN KEY-----\ncanary-line-one\ncanary-line-two\nQ==\n"
    know_secrets({"BAND_MASKED": "SETTING,OTHER", "SETTING": "canary-setting", "PEM_SECRET": key, "PLAIN": "readable!"})
    for text in ("it is canary-setting", key, json.dumps(key), repr(key)):
        assert "canary" not in mask_text(text)
    odd = """can"ary\\'ä\twith more"""
    know_secrets({"ODD_TOKEN": odd})
    for text in (odd, json.dumps(odd), json.dumps(odd, ensure_ascii=False), repr({"token": odd})):
        assert "with more" not in mask_text(text)
    assert mask_text("readable! Q==") == "readable! Q=="


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:p@h", "redis://:***@h"),
        ("amqp://user:p/w@h:1/x y", "amqp://user:***@h:1/x y"),
        ("no secret @ all = none", "no secret @ all = none"),
        ("?license_key=abc#x", "?license_key=***#x"),
        ("https://x/?apikey=abc&amp", "https://x/?apikey=***&amp"),
    ],
)
def test_mask_text(text, masked):
    """Only the secret part goes."""
    assert mask_text(text) == masked


def test_mask_copies_and_keeps_what_is_harmless():
    """The original value is not changed; empty secrets stay visible as empty."""
    value = {"token": "x", "empty_token": "", "list": ("a", {"secret": 1}), "n": 5}
    assert mask(value) == {"token": "***", "empty_token": "", "list": ["a", {"secret": "***"}], "n": 5}
    assert value["token"] == "x"
    assert [is_secret_name(name) for name in ("MIXPANEL_TOKEN", "passwd", "licence_key", "name")] == [
        True,
        True,
        True,
        False,
    ]


def test_logging_works_before_the_service_is_started(capsys, monkeypatch):
    """A module of a service logs while it is imported, with extras: `from band import logger` is enough."""
    import band

    monkeypatch.setattr("band.config.environ", {"JSON_LOGS": "true", "MY_SECRET": "hunter2canary"})
    monkeypatch.delitem(vars(band), "logger", raising=False)
    structlog.reset_defaults()
    band.logger.info("at import", ["hunter2canary"])
    (found,) = lines(capsys)
    assert (found["event"], found["extra"]) == ("at import", [["***"]])


def test_text_logs_hold_event_and_values(capsys):
    """Without JSON_LOGS a line is for people."""
    configure_logs("info")
    logger.info("something", 5, key="v")
    text = capsys.readouterr().out
    assert "something" in text
    assert "key=v" in text
    assert logs.MASK not in text


@pytest.mark.parametrize("as_json", [True, False])
def test_half_a_surrogate_pair_is_logged_escaped(capsys, as_json):
    """Standard output refuses it. A log call that raises would end what only wanted to report an error."""
    configure_logs("debug", as_json=as_json)
    try:
        raise ValueError("broken \ud83d, whole \N{GRINNING FACE}")
    except ValueError as error:
        logger.exception("failed", reason=str(error))
    out = capsys.readouterr().out
    assert "broken \\ud83d, whole \N{GRINNING FACE}" in out
    out.encode()
