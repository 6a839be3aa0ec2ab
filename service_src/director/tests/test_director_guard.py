"""Who may call, and what is shown to whom: the guard, and the masking of secrets."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from band.service.cross_site import host_names
from director.api.security import Guard, check_exposure, hostname
from director.errors import ConfigError, DirectorError, Refused
from director.redact import MASK, mask_env, mask_tree, mask_url, scrub, secret_values
from director.settings import DirectorSettings

LONG = 2_000_000
HOSTS = host_names(["director", "http", "Band:8080"], ["panel.example.com"])
OPEN = Guard(HOSTS)
CLOSED = Guard(HOSTS, token="right", open_paths=frozenset({"/_band/health"}))


@pytest.mark.parametrize(
    "host", ["127.0.0.1:10000", "localhost", "LOCALHOST:1", "[::1]:10000", "band:8080", "panel.example.com"]
)
def test_own_names_pass(host: str) -> None:
    """Loopback, the director's own names and the allowed ones pass, with any port."""
    OPEN.check("/list", {"Host": host})


@pytest.mark.parametrize(
    "host",
    ["", "evil.com", "127.0.0.1.evil.com", "localhost.evil.com", "evil.com:10000", "10.0.0.1", "band@evil.com", "[::1"],
)
def test_dns_rebinding_is_refused(host: str) -> None:
    """A name that a foreign DNS server could point at loopback is refused."""
    with pytest.raises(Refused):
        OPEN.check("/run/x", {"Host": host})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "weird"},
    ],
)
def test_pages_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    """A foreign Origin, also of another port of this machine, and a foreign fetch are refused, on GET as on POST."""
    with pytest.raises(Refused):
        OPEN.check("/run/x", {"Host": "127.0.0.1:10000", **headers})


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": "http://127.0.0.1:10000", "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}]
)
def test_own_page_address_bar_and_command_line_pass(headers: dict[str, str]) -> None:
    """The director's own page, a typed address and curl pass."""
    OPEN.check("/run/x", {"Host": "127.0.0.1:10000", **headers})


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer right"}, {"Authorization": "bearer right"}, {"X-Band-Token": "right"}]
)
def test_the_token_opens(headers: dict[str, str]) -> None:
    """The token passes as a bearer or in its own header."""
    CLOSED.check("/list", {"Host": "localhost", **headers})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic right"},
        {"X-Band-Token": ""},
        {"X-Band-Token": "rïght"},
    ],
)
def test_without_the_token_nothing_but_the_health_check_is_open(headers: dict[str, str]) -> None:
    """A missing or wrong token is refused; the container's own health check needs none."""
    with pytest.raises(Refused):
        CLOSED.check("/list", {"Host": "localhost", **headers})
    CLOSED.check("/_band/health", {"Host": "127.0.0.1:8080", **headers})


@given(st.text(max_size=30))
def test_any_host_text_is_a_name_or_nothing(text: str) -> None:
    """Whatever stands in the Host header, reading it does not fail."""
    assert isinstance(hostname(text), str)


@pytest.mark.parametrize(
    ("facts", "fine"),
    [
        ({"host": "127.0.0.1", "in_container": False}, True),
        ({"host": "0.0.0.0", "in_container": False}, False),
        ({"host": "192.168.1.5", "in_container": False}, False),
        ({"host": "0.0.0.0", "in_container": True, "published": ["127.0.0.1"]}, True),
        ({"host": "0.0.0.0", "in_container": True, "published": []}, True),
        ({"host": "0.0.0.0", "in_container": True, "published": ["0.0.0.0"]}, False),
        ({"host": "0.0.0.0", "in_container": True, "published": ["127.0.0.1", "::"]}, False),
        ({"host": "0.0.0.0", "in_container": True, "published": [], "host_network": True}, False),
    ],
)
def test_beyond_loopback_only_with_a_token(facts: dict[str, object], fine: bool) -> None:
    """In a container the address that its port is published on counts, on a host the one it listens on."""
    check_exposure(token="t", **facts)  # type: ignore[arg-type]
    if fine:
        check_exposure(token=False, **facts)  # type: ignore[arg-type]
        return
    with pytest.raises(ConfigError, match="BAND_TOKEN"):
        check_exposure(token=False, **facts)  # type: ignore[arg-type]


def test_env_is_masked_by_declaration_name_and_form() -> None:
    """Declared keys, keys that look secret, and passwords in DSNs are masked; the rest is readable."""
    env = {
        "MIXPANEL_TOKEN": "a", "DB_PASSWORD": "b", "LICENSE_KEY": "c", "CODE": "d", "REDIS_DSN": "redis://:pw@h:1/0",
        "LOG_LEVEL": "INFO", "EMPTY_TOKEN": "", "KEYBOARD": "us",
    }  # fmt: skip
    masked = mask_env(env, ["CODE"])
    assert {key for key, value in masked.items() if value == MASK} == {
        "MIXPANEL_TOKEN",
        "DB_PASSWORD",
        "LICENSE_KEY",
        "CODE",
    }
    assert masked["REDIS_DSN"] == f"redis://:{MASK}@h:1/0"
    assert (masked["LOG_LEVEL"], masked["EMPTY_TOKEN"], masked["KEYBOARD"]) == ("INFO", "", "us")


def test_trees_are_masked_at_any_depth() -> None:
    """Secrets inside lists and objects are masked too."""
    tree = {"env": {"API_TOKEN": "x"}, "more": [{"password": "y", "list": ["http://u:z@h/"]}], "tokens": ["q"]}
    text = json.dumps(mask_tree(tree))
    assert not any(f'"{secret}"' in text for secret in ("x", "y", "q"))
    assert "u:z@" not in text


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="/ "), min_size=4))
def test_a_secret_never_gets_through_a_log_line(text: str) -> None:
    """Wherever a secret stands in a line, it is gone from it."""
    secret = f"§{text}§"
    line = f"connecting with {secret} to redis://user:{secret}@host and again {secret}"
    assert secret not in scrub(line, secret_values({"API_TOKEN": secret, "OTHER": "readable"}))


@pytest.mark.parametrize("secret", ["w\"e\\i<r>d&pä%canary'ss\tword", "it's canary", 'a "canary"', "canary\\d+"])
def test_a_secret_is_found_however_it_is_written(secret: str) -> None:
    """As JSON, as JSON in a text that is JSON again, as Python shows it in an error, as a part of a URL."""
    secrets = secret_values({"API_TOKEN": secret})
    ways = [json.dumps(secret), json.dumps(secret, ensure_ascii=False), repr({"a": secret}), quote(secret)]
    for text in [secret, *ways, *map(json.dumps, ways[:2])]:
        assert "canary" not in scrub(f"got {text} today", secrets)


@pytest.mark.parametrize("between", ["\n", "\r\n", "\\n", "\\r\\n"])
def test_each_line_of_a_secret_is_a_secret(between: str) -> None:
    """A log is masked line by line; short lines, such as a brace, stay readable."""
    lines = ["-----BEGIN PRIVATE KEY-----", "  MIIEvQIBADANBgkqhkiG9w0", "Q==", "-----END PRIVATE KEY-----"]
    secrets = secret_values({"TLS_KEY": between.join(lines)})
    assert [scrub(line, secrets).strip() for line in lines] == [MASK, MASK, "Q==", MASK]


def test_passwords_with_an_at_sign_are_masked_whole() -> None:
    """A password that itself holds an @ does not leave its second half behind."""
    assert mask_url("redis://:a@b@host:1") == f"redis://:{MASK}@host:1"


def test_passwords_in_the_query_of_a_url_are_masked() -> None:
    """As in `postgres://db/x?password=…`: where the URL is shown, and where a service prints the password alone."""
    env = {
        "DB_URL": "postgres://db/x?user=me&password=canary-1&sslmode=require",
        "HOOK": "https://h/?access_token=short",
    }
    assert mask_env(env) == {
        "DB_URL": f"postgres://db/x?user=me&password={MASK}&sslmode=require",
        "HOOK": f"https://h/?access_token={MASK}",
    }
    assert scrub("the password is canary-1, in short", secret_values(env)) == f"the password is {MASK}, in short"
    assert mask_url("GET /x?api_key=canary HTTP/1.1") == f"GET /x?api_key={MASK} HTTP/1.1"
    assert mask_url("/search?author=me&q=token=1") == "/search?author=me&q=token=1"


@pytest.mark.parametrize("query", ["tokenType=bearer", "signature_version=legacy", "pwd_policy=strict"])
def test_a_word_of_a_query_that_only_sounds_secret_masks_no_other_text(query: str) -> None:
    """Short words under a key that only begins with a secret word stand in many a line."""
    word = query.partition("=")[2]
    assert scrub(f"a {word} came", secret_values({"URL": f"https://h/?{query}"})) == f"a {word} came"


@pytest.mark.parametrize(
    "query",
    ["token=canary", "passwd=canary", "secret_key=canary", "tokens=canary", "token2=canary", "token_v=canary-canary"],
)
def test_a_secret_of_a_query_is_masked_wherever_it_stands(query: str) -> None:
    """By a key that ends in a secret word, or by its length."""
    assert "canary" not in scrub(f"got {query.partition('=')[2]}", secret_values({"URL": f"https://h/?{query}"}))


def test_settings_report_all_mistakes_together_and_hide_secrets(tmp_path: object) -> None:
    """Every wrong variable is named at once; the text of the settings holds no secret."""
    with pytest.raises(ConfigError) as caught:
        DirectorSettings.read({"PORT": "x", "BAND_PORTS": "9-1", "BAND_NAMESPACE": "UP", "REDIS_DSN": "http://:pw@h"})
    text = caught.value.message
    assert all(key in text for key in ("PORT", "BAND_PORTS", "BAND_NAMESPACE", "REDIS_DSN"))
    assert "pw" not in text
    found = DirectorSettings.read({"REDIS_HOST": "redis", "REDIS_PASSWORD": "p@ss", "BAND_TOKEN": "canary"})
    assert found.redis_dsn.reveal().startswith("redis://:p%40ss@redis:6379")
    assert "canary" not in f"{found} {found.token}"
    assert "p%40ss" not in repr(found)


@pytest.mark.parametrize("url", ["npm.example.com", "https://me:canary@npm.example.com/"])
def test_an_npm_registry_is_a_url_without_secrets(url: str) -> None:
    """It ends up in images; the message does not repeat it."""
    with pytest.raises(ConfigError, match="BAND_NPM_REGISTRY is not") as caught:
        DirectorSettings.read({"REDIS_HOST": "redis", "BAND_NPM_REGISTRY": url})
    assert "canary" not in caught.value.message


def test_a_misspelt_setting_is_refused_and_a_foreign_variable_is_not() -> None:
    """What is nearly a setting would silently be nothing; with another program's variable the director starts."""
    redis = {"REDIS_HOST": "redis"}
    with pytest.raises(ConfigError) as caught:
        DirectorSettings.read({**redis, "BAND_KEEP_RELEASE": "9", "BAND_TOKEN_FILES": "/x"})
    assert "BAND_KEEP_RELEASE is not a setting; did you mean BAND_KEEP_RELEASES?" in caught.value.message
    assert "BAND_TOKEN_FILES is not a setting; did you mean BAND_TOKEN_FILE?" in caught.value.message
    mixed = {**redis, "BAND_OF_BROTHERS": "1", "BAND_SERVICE": "director", "BAND_URL": "http://b"}
    links = {"BAND_PORT": "tcp://172.17.0.2:80", "BAND_SERVICE_HOST": "10.0.0.1", "BAND_PORT_80_TCP_ADDR": "10.0.0.1"}
    assert DirectorSettings.read({**mixed, **links}).unknown == ("BAND_OF_BROTHERS",)
    assert DirectorSettings.read(mixed).unknown == ("BAND_OF_BROTHERS",)


def test_errors_have_a_status_and_a_code_of_their_own() -> None:
    """No two kinds of error share a code, and every status is one of the contract's."""
    kinds = [DirectorError, *_below(DirectorError)]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert {kind.status for kind in kinds} <= {400, 403, 404, 409, 422, 429, 500, 502, 504}


def _below(kind: type[DirectorError]) -> list[type[DirectorError]]:
    return [found for child in kind.__subclasses__() for found in (child, *_below(child))]


@pytest.mark.parametrize(
    "text",
    [
        "x" * LONG,
        "x." * LONG,
        "x://" * (LONG // 4),
        "a://b:" + "c" * LONG,
        "://" + "x@" * LONG,
        "?pwd" * LONG + "=",
        "&" + "token" * LONG,
    ],
    ids=["a word", "names", "schemes", "no end", "ends", "queries", "a long name"],
)
def test_masking_a_long_line_takes_no_time(text: str) -> None:
    """Whatever a service prints without a blank, the director answers others meanwhile; passwords are found in it."""
    begun = time.process_time()
    scrub(text, ["canary-secret"])
    assert time.process_time() - begun < 5, "this grows with the square of the length"
    assert "canary" not in scrub(f"{'x' * 1000}redis://:canary@host", [])
