"""Settings: files through Jinja over the environment, and errors that say where without saying what."""

from __future__ import annotations

import copy
import os
import pickle
import traceback
from pathlib import Path

import pytest

from band.config import Settings, first, parse_bool, read_environ, read_settings, with_defaults, words
from band.errors import SettingsError
from band.redis import RedisAddress, dsn_from_env
from band.service.config import ServiceConfig


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_missing_attribute_is_none_at_any_depth():
    """What is not set is None, as the original's services expect, and nested mappings are attributes too."""
    settings = Settings({"a": {"b": [{"c": 1}]}, 5: "five"})
    assert settings.a.b[0].c == 1
    assert settings.a.missing is None
    assert settings.missing is None
    assert settings["5"] == "five"
    assert {**settings}["a"] == {"b": [{"c": 1}]}


def test_settings_survive_copy_and_pickle():
    """Probing for special methods does not find None where a method must be."""
    settings = Settings({"a": {"b": 1}})
    assert copy.deepcopy(settings) == settings
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own
    settings.new = {"x": 1}
    assert settings["new"].x == 1


def test_template_sees_the_environment_by_name_and_as_env(tmp_path):
    """`{{ NAME }}` and `{{ env.NAME }}` are variables; an unset one is empty, `default` gives another."""
    write(tmp_path, config__yaml="a: {{ WHO }}\nb: '{{ env.WHO }}'\nc: {{ NONE }}\nd: {{ NONE|default(8080) }}\n")
    assert read_settings(tmp_path, {"WHO": "me"}) == {"a": "me", "b": "me", "c": None, "d": 8080}


def test_later_files_win_and_mappings_are_merged(tmp_path):
    """custom.yaml > custom.yml > config.yaml > config.yml, key by key at any depth; a list replaces a list."""
    write(
        tmp_path, config__yml="a: 1\nm: {x: 1, y: 1}\nl: [1]", config__yaml="a: 2\nb: 2",
        custom__yml="a: 3\nm: {y: 3}", custom__yaml="a: 4\nl: [2, 3]",
    )  # fmt: skip
    assert read_settings(tmp_path, {}) == {"a": 4, "b": 2, "m": {"x": 1, "y": 3}, "l": [2, 3]}


def test_environment_files_lose_to_the_real_environment(tmp_path, monkeypatch):
    """Process > .env.local > .env."""
    write(tmp_path, __env="A=env\nB=env\nC=env\n", __env__local="A=local\nB=local\n")
    monkeypatch.setenv("A", "process")
    monkeypatch.delenv("B", raising=False)
    monkeypatch.delenv("C", raising=False)
    environ = read_environ(tmp_path)
    assert (environ["A"], environ["B"], environ["C"]) == ("process", "local", "env")


def test_no_file_and_an_empty_file_are_no_settings(tmp_path):
    """A service without config.yaml runs on the environment alone."""
    assert read_settings(tmp_path, {}) == {}
    assert read_settings(write(tmp_path, config__yaml="# nothing\n"), {}) == {}


def test_defaults_are_those_of_the_original(tmp_path):
    """`env` is ENV or development, `name` is NAME or the host's, a section named after ENV is merged over the rest."""
    assert with_defaults(Settings(), {"NAME": "n"}) == {"env": "development", "name": "n"}
    assert with_defaults(Settings({"name": "own"}), {"NAME": "n"}).name == "own"
    assert with_defaults(Settings(), {}).name == os.uname().nodename
    merged = with_defaults(Settings({"a": {"x": 1, "y": 1}, "production": {"a": {"y": 2}}}), {"ENV": "production"})
    assert (merged.a, merged.env) == ({"x": 1, "y": 2}, "production")


CANARY = "hunter2canary"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"a: 1\nb: [1, {CANARY}\nc: 2\n", 3),
        (f"a: 1\npassword: *{CANARY}\n", 2),
        (f"a: 1\npassword: !{CANARY} x\n", 2),
        (f"a: 1\npassword: 'a' {CANARY}\n", 2),
        (f"a: 1\n{CANARY}: \tx: y: z\n", 2),
        (f"a: 1\nb: {{{{ {CANARY} {CANARY} }}}}\n", 2),
        (f"a: 1\nb: 2\npassword: x{{% {CANARY} %}}\n", 3),
        (f"a: 1\nb: {{{{ {CANARY}.b.c }}}}\n", 2),
        (f"a: 1\nb: {{{{ '{CANARY}'|int + {{}} }}}}\n", 2),
        (f"a: 1\n\nb: {{{{ '{CANARY}'|nosuchfilter }}}}\n", 3),
    ],
    ids=range(10),
)
def test_error_names_file_and_line_and_quotes_nothing(tmp_path, text, line):
    """What is wrong in the file is told by place, never by content: the line may hold a password."""
    write(tmp_path, config__yaml=text)
    with pytest.raises(SettingsError) as caught:
        read_settings(tmp_path, {})
    assert str(tmp_path / "config.yaml") in str(caught.value)
    assert f", line {line}" in str(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("content", [b"- a\n- b\n", b"text", b"\xff\xfe bad", b"5"])
def test_file_that_is_no_mapping_is_an_error(tmp_path, content):
    """A list, a text, a number and what is no UTF-8 are told as such."""
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match=r"config\.yaml: (expected|cannot be read)"):
        read_settings(tmp_path, {})


def test_service_config_reads_settings_over_environment():
    """The framework's own settings: `listen` over HOST and PORT, LOG_LEVEL from the environment first."""
    config = ServiceConfig.read(
        {"name": "s", "listen": "127.0.0.1:9000", "rpc_params": {"listen_all": True}, "jobs_limit": "7"},
        {"HOST": "0.0.0.0", "PORT": "8080", "LOG_LEVEL": "debug", "REDIS_HOST": "r", "JSON_LOGS": "true"},
    )
    assert (config.host, config.port, config.listen_all, config.listen_enrich) == ("127.0.0.1", 9000, True, False)
    assert (config.jobs_limit, config.log_level, config.redis_dsn, config.json_logs) == (
        7,
        "debug",
        "redis://r:6379/0",
        True,
    )


def test_listen_of_unset_variables_falls_back_to_the_defaults():
    """`listen: "{{HOST}}:{{PORT}}"` with neither set is `:`."""
    config = ServiceConfig.read({"name": "s", "listen": ":"}, {})
    assert (config.host, config.port) == ("0.0.0.0", 8080)


def test_older_key_redis_params_is_accepted():
    """Services before 0.20 wrote redis_params."""
    config = ServiceConfig.read({"name": "s", "redis_params": {"listen_enrich": "yes", "listen_all": "no"}}, {})
    assert (config.listen_enrich, config.listen_all) == (True, False)


def test_all_wrong_settings_are_told_together():
    """One error names every setting that cannot be used."""
    with pytest.raises(SettingsError) as caught:
        ServiceConfig.read(
            {"name": "a:b", "listen": "h:port", "rpc_params": {"listen_all": "maybe"}, "stop_timeout": "soon"}, {}
        )
    for part in ("a:b", "port 'port'", "rpc_params.listen_all='maybe'", "stop_timeout='soon'"):
        assert part in str(caught.value)


def test_rpc_params_that_is_no_mapping_is_told():
    """`rpc_params: yes` is a mistake with a name, not a traceback."""
    with pytest.raises(SettingsError, match="rpc_params"):
        ServiceConfig.read({"name": "s", "rpc_params": True}, {})


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("redis://h", ("h", 6379, 0, "", "")),
        ("redis://:p%40ss@h:7000/3", ("h", 7000, 3, "", "p@ss")),
        ("rediss://u:p@h?db=2", ("h", 6379, 2, "u", "p")),
        ("unix:///run/redis.sock?db=1", ("127.0.0.1", 6379, 1, "", "")),
        ("redis://[::1]:6380/0", ("::1", 6380, 0, "", "")),
    ],
)
def test_dsn_forms(dsn, expected):
    """TCP, TLS and unix addresses, with user, password (percent-encoded) and database."""
    address = RedisAddress.parse(dsn)
    assert (address.host, address.port, address.db, address.username, address.password) == expected


@pytest.mark.parametrize(
    "dsn",
    [
        "redis://:hunter/2@h:6379",
        "redis://u:hunter@h:hunter",
        "redis://h/hunter",
        "http://u:hunter@h",
        "redis://[hunter",
        "hunter",
    ],
)
def test_wrong_dsn_is_told_without_any_piece_of_it(dsn):
    """A DSN that cannot be read may hold a password in any place."""
    with pytest.raises(SettingsError) as caught:
        RedisAddress.parse(dsn)
    assert "hunter" not in str(caught.value)
    assert "REDIS_DSN" in str(caught.value)


def test_dsn_from_parts_and_from_a_password_file(tmp_path):
    """REDIS_HOST and its companions make a DSN; the password may stand in a file; special characters survive."""
    secret = tmp_path / "secret"
    secret.write_text("p@ss/word:1\n")
    env = {"REDIS_HOST": "r", "REDIS_PORT": "7", "REDIS_DB": "2", "REDIS_PASSWORD_FILE": str(secret)}
    address = RedisAddress.parse(dsn_from_env(env))
    assert (address.host, address.port, address.db, address.password) == ("r", 7, 2, "p@ss/word:1")
    assert dsn_from_env({"REDIS_DSN": "redis://x", "REDIS_HOST": "y"}) == "redis://x"
    assert dsn_from_env({}) == "redis://127.0.0.1:6379"
    with pytest.raises(SettingsError, match="/nowhere"):
        dsn_from_env({"REDIS_HOST": "r", "REDIS_PASSWORD_FILE": "/nowhere"})


def test_address_never_shows_its_password():
    """Neither its text nor its repr, alone or inside something else."""
    address = RedisAddress.parse("redis://user:hunter2@h:1/0")
    assert "hunter2" not in f"{address} {address!r} {[address]}"


def test_truth_and_small_helpers():
    """Words for yes and no, in any case; anything else is an error."""
    assert [parse_bool(value) for value in ("Yes", True, 1, "on")] == [True] * 4
    assert [parse_bool(value) for value in (None, "", "no", False, 0, "OFF")] == [False] * 6
    with pytest.raises(ValueError, match="neither yes nor no"):
        parse_bool("2")
    assert first(None, "", 0, 1) == 0
    assert words("a, b c") == words(["a", "b", "c"]) == ["a", "b", "c"]
    assert words(None) == []


def test_a_folder_run_under_another_name_does_not_start() -> None:
    """What the director runs as one service must not answer as another because of a name in config.yaml."""
    assert ServiceConfig.read({"name": "mmgeo"}, {"BAND_SERVICE": "mmgeo"}).name == "mmgeo"
    with pytest.raises(
        SettingsError, match=r"config.yaml says `name: mmgeo`, but the director runs this folder as 'mine'"
    ):
        ServiceConfig.read({"name": "mmgeo"}, {"BAND_SERVICE": "mine"})


def test_names_and_origins_that_may_call_are_read_from_settings_or_the_environment() -> None:
    """A text or a list; none by default."""
    assert ServiceConfig.read({"name": "a"}, {}).allowed_origins == frozenset()
    env = {"ALLOWED_HOSTS": "panel.example, b.example:8080", "ALLOWED_ORIGINS": "https://App.example/ http://x:3000"}
    read = ServiceConfig.read({"name": "a"}, env)
    assert read.allowed_hosts == {"panel.example", "b.example:8080"}
    assert read.allowed_origins == {"https://app.example", "http://x:3000"}
    assert ServiceConfig.read({"name": "a", "allowed_origins": ["*"]}, env).allowed_origins == {"*"}


def test_what_is_no_name_or_origin_is_told() -> None:
    """An origin without its scheme would never match, `null` is every sandboxed page."""
    wrong = {"name": "a", "allowed_hosts": ["a b/c", "ok.example"], "allowed_origins": "app.example null ftp://x"}
    with pytest.raises(SettingsError) as caught:
        ServiceConfig.read(wrong, {})
    text = str(caught.value)
    assert all(word in text for word in ("'a b/c'", "'app.example'", "'null'", "'ftp://x'", "https://app.example"))
    assert "ok.example" not in text
    with pytest.raises(SettingsError, match="allowed_origins=5"):
        ServiceConfig.read({"name": "a", "allowed_origins": 5}, {})
