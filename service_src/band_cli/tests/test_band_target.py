"""Which director is asked, with what token, and what happens when it does not let us in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from band_cli.errors import BadInput
from band_cli.target import Target, check_url, find_target

TOKEN = "canary-token-5d1f9a"


def test_options_win_over_environment_over_files(tmp_path: Path) -> None:
    """Each place may name the director; the first that does counts."""
    config = tmp_path / "config"
    config.write_text("host = https://of.file\n")
    env = {"BAND_CONFIG": str(config), "HOME": str(tmp_path)}
    assert find_target({"HOME": str(tmp_path)}).url == "http://127.0.0.1:10000"
    assert find_target(env).url == "https://of.file"
    assert find_target({**env, "BAND_HOST": "https://of.env"}).url == "https://of.env"
    assert find_target({**env, "BAND_HOST": "https://of.env"}, host="of.option").url == "https://of.option"


def test_a_files_token_goes_to_the_files_host_only(tmp_path: Path) -> None:
    """Whoever names another host does not send it the token of the first."""
    config = tmp_path / "config"
    config.write_text(f"host = https://band.example.com\ntoken = {TOKEN}\n")
    env = {"BAND_CONFIG": str(config)}
    assert find_target(env).token == TOKEN
    assert find_target(env, host="https://band.example.com/").token == TOKEN
    assert find_target(env, host="https://evil.example.com").token == ""
    assert TOKEN not in repr(find_target(env))


def test_the_hosts_own_file_counts_after_the_users(tmp_path: Path) -> None:
    """The role's file has the token's file; a user who may not read it is told to use sudo."""
    secret, config = tmp_path / "director.token", tmp_path / "band.conf"
    secret.write_text(TOKEN + "\n")
    config.write_text(f"host = http://127.0.0.1:10000\ntoken_file = {secret}\n")
    assert find_target({"BAND_HOST_CONFIG": str(config), "HOME": str(tmp_path)}).token == TOKEN


@pytest.mark.parametrize("host", ["ftp://x", "http://", "http://[", "http://user:pass@x", "http://x:99999"])
def test_what_is_no_address_is_refused(host: str) -> None:
    """With an example of one."""
    with pytest.raises(BadInput):
        check_url(host)


def test_a_bare_name_is_https_unless_it_is_this_machine() -> None:
    """No token goes over the network unencrypted because somebody left out a scheme."""
    assert check_url("band.example.com") == "https://band.example.com"
    assert check_url("127.0.0.1:10000") == "http://127.0.0.1:10000"
    assert check_url("localhost:1/") == "http://localhost:1"


def test_a_misspelt_setting_is_named(tmp_path: Path, band: Any) -> None:
    """Exit code 2, and the settings that there are."""
    config = tmp_path / ".config" / "band" / "config"
    config.parent.mkdir(parents=True)
    config.write_text("hots = x\n")
    ran = band("ps")
    assert (ran.code, "'hots'" in ran.err, "ca_file, host" in ran.err) == (2, True, True)


def test_the_token_opens_a_closed_director(closed: Any, band: Any, tmp_path: Path) -> None:
    """From a file, the environment; without it or with a wrong one the exit code is 3."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    assert band("ps", "--host", closed.url).code == 3
    assert band("ps", "--host", closed.url, "--token-file", str(file)).code == 0
    assert band("--host", closed.url, "--token-file", str(file), "ps").code == 0
    file.write_text("wrong")
    ran = band("ps", "--host", closed.url, "--token-file", str(file), "--json")
    assert ran.code == 3
    assert json.loads(ran.err)["error"]["code"] == "token_wrong"


def test_the_token_is_on_no_command_line_and_in_no_output(closed: Any) -> None:
    """`ps` of another user of the machine does not see it; a process that fails does not print it."""
    env = {**os.environ, "BAND_HOST": closed.url, "BAND_TOKEN": TOKEN}
    for words in (["logs", "nobody"], ["status"], ["call", "x", "y", "bad"]):
        done = subprocess.run(
            [sys.executable, "-m", "band_cli", *words], env=env, capture_output=True, text=True, check=False
        )
        assert TOKEN not in done.stdout + done.stderr + " ".join(done.args)
    done = subprocess.run([sys.executable, "-m", "band_cli", "--help"], capture_output=True, text=True, check=True)
    assert "--token-file" in done.stdout
    assert "--token " not in done.stdout


def test_nobody_there_is_exit_code_3(band: Any) -> None:
    """With what to look at."""
    ran = band("ps", "--host", "http://127.0.0.1:1")
    assert ran.code == 3
    assert "no director responds at http://127.0.0.1:1" in ran.err
    assert Target().url in ran.err or "--host" in ran.err


@pytest.mark.parametrize("token", [f"{TOKEN}\n{TOKEN}", f"{TOKEN}ключ", f"{TOKEN}\0", f"{TOKEN}é"])
def test_a_token_that_fits_into_no_header_is_refused_without_showing_it(band: Any, tmp_path: Path, token: str) -> None:
    """From a file and from the environment."""
    file = tmp_path / "token"
    file.write_text(token, encoding="utf-8")
    ran = band("ps", "--host", "http://127.0.0.1:1", "--token-file", str(file))
    assert (ran.code, "the token is not one line of ASCII" in ran.err, TOKEN in ran.err) == (2, True, False)
    with pytest.raises(BadInput, match="not one line of ASCII"):
        find_target({"BAND_TOKEN": token})


def test_a_home_that_may_not_be_entered_has_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """With HOME=/root kept by sudo, the director of this machine is asked."""
    real = os.stat

    def denied(path: Any, *words: Any, **more: Any) -> os.stat_result:
        if str(path).startswith("/root-of-another"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *words, **more)

    monkeypatch.setattr(os, "stat", denied)
    assert find_target({"HOME": "/root-of-another"}).url == "http://127.0.0.1:10000"


def test_only_the_hosts_own_file_may_be_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the user's that cannot be read is an error, not another director."""
    config = tmp_path / "config"
    config.write_text("host = https://of.file\n")

    def denied(path: Path, **_more: Any) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", denied)
    assert find_target({"BAND_HOST_CONFIG": str(config), "HOME": str(tmp_path)}).url == "http://127.0.0.1:10000"
    with pytest.raises(BadInput, match="cannot be read"):
        find_target({"BAND_CONFIG": str(config)})


def test_a_token_file_that_is_not_there_is_named_once(tmp_path: Path) -> None:
    """Without the number of the error."""
    missing = tmp_path / "none"
    with pytest.raises(BadInput) as caught:
        find_target({"BAND_TOKEN_FILE": str(missing), "HOME": str(tmp_path)})
    assert str(caught.value) == f"the token cannot be read from {missing}: No such file or directory"


def test_who_needs_a_token_is_told_how_to_give_it_here(closed: Any, band: Any) -> None:
    """Not which header to send."""
    ran = band("ps", "--host", closed.url)
    assert ran.code == 3
    assert "--token-file" in ran.err
    assert "Bearer" not in ran.err
