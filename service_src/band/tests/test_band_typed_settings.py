"""Settings as one typed Struct."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from band.errors import SettingsError
from band.telemetry.logs import know_secrets, mask_text
from band.typed_settings import Secret, is_link, load


class Shop(msgspec.Struct, frozen=True):
    """Settings of a service."""

    name: str
    count: Annotated[int, msgspec.Meta(ge=1, le=9)] = 3
    share: float = 0.5
    open: bool = True
    all: bool = msgspec.field(default=False, name="listen.all")
    tags: frozenset[str] = frozenset()
    token: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0

    def problems(self) -> Iterator[str]:
        if self.name == "wrong":
            yield "the name is wrong"


def test_the_first_source_wins_and_texts_become_types() -> None:
    """Environment variables are texts; what is empty or missing is left to the next source, then to the default."""
    given = {"name": "a", "count": "4", "open": "no", "tags": "x, y", "listen": {"all": "yes"}, "share": ""}
    assert load(Shop, given, {"count": 9, "share": "0.25"}) == Shop("a", 4, 0.25, False, True, frozenset("xy"))
    assert load(Shop, {"tags": ["x"]}, name="b") == Shop("b", tags=frozenset("x"))


def test_all_that_is_wrong_is_told_together_without_secrets() -> None:
    """Types, ranges, what the Struct finds itself, and what was known before; the value of a secret is not shown."""
    given = {"name": "wrong", "count": 10, "share": "much", "open": "perhaps", "tags": 5, "token": "hunter2"}
    with pytest.raises(SettingsError) as caught:
        load(Shop, given, problems=["the first"])
    text = str(caught.value)
    for part in (
        "the first", "count=10 is not a whole number from 1 to 9", "share='much' is not a number", "open='perhaps'",
        "tags=5 is neither a string nor a list", "token=*** is not a whole number from 0 to 9", "the name is wrong",
    ):  # fmt: skip
        assert part in text
    assert "hunter2" not in text


class Vault(msgspec.Struct, frozen=True, rename=str.upper):
    """Settings with secrets."""

    token: Secret | None = None
    key: Secret = Secret()
    folder: Path | None = None


def test_a_secret_shows_nowhere_and_is_given_away_on_request_only() -> None:
    """Whatever prints, formats or logs settings shows no secret; JSON refuses to write one."""
    found = load(Vault, {"TOKEN": " canary ", "FOLDER": "/data"})
    assert (found.token, found.folder, bool(found.key)) == (Secret("canary"), Path("/data"), False)
    assert found.token is not None and found.token.reveal() == "canary"
    shown = f"{found!r} {found} {found.token} {found.token!r} {[found.token]}"
    assert "canary" not in shown
    assert "Secret(***)" in shown
    with pytest.raises(TypeError):
        msgspec.json.encode(found)


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    """`<NAME>_FILE` wins over the variable; a file that cannot be read is told of, with the other mistakes."""
    (tmp_path / "token").write_text("canary\n")
    found = load(Vault, {"TOKEN": "old", "TOKEN_FILE": str(tmp_path / "token")})
    assert found.token == Secret("canary")
    with pytest.raises(SettingsError, match=r"TOKEN_FILE=/nowhere cannot be read: No such file or directory"):
        load(Vault, {"TOKEN_FILE": "/nowhere"})


class Keys(msgspec.Struct, frozen=True):
    """Secrets of a config.yaml."""

    ip_hash_key: Secret = Secret()


def test_a_secret_of_a_file_of_settings_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    """`<name>_file` beside the lower-case name; it is a setting like others."""
    (tmp_path / "key").write_text("canary\n")
    found = load(Keys, {"ip_hash_key": "old", "ip_hash_key_file": str(tmp_path / "key")}, others=())
    assert found.ip_hash_key == Secret("canary")
    assert load(Keys, {"ip_hash_key": "old", "ip_hash_key_file": ""}).ip_hash_key == Secret("old")
    with pytest.raises(SettingsError, match=r"^ip_hash_key_file=/nowhere cannot be read: No such file or directory$"):
        load(Keys, {"ip_hash_key_file": "/nowhere"}, others=())


def test_a_secret_that_was_read_is_masked_wherever_it_stands(tmp_path: Path) -> None:
    """Whatever its name and source; also when the environment is looked at afterwards."""
    (tmp_path / "key").write_text("first-canary\n")
    load(Keys, {"ip_hash_key_file": str(tmp_path / "key")})
    load(Keys, {"ip_hash_key": "second-canary"})
    know_secrets({"BAND_TOKEN": "third-canary"})
    assert mask_text("first-canary second-canary third-canary") == "*** *** ***"
    load(Keys, {"ip_hash_key": "short"})
    assert mask_text("short") == "short"


def test_a_file_that_is_no_text_is_told_and_not_shown(tmp_path: Path) -> None:
    """The message names the variable, and shows no value, of whichever setting."""
    (tmp_path / "token").write_bytes(b"canary\xff")
    with pytest.raises(SettingsError) as caught:
        load(Vault, {"TOKEN_FILE": str(tmp_path / "token")})
    assert "TOKEN_FILE is not UTF-8" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_file_of_our_own_has_no_unknown_keys() -> None:
    """Each is told with the setting that it is nearly; sections and what others read stand there by right."""
    given = {"name": "a", "listen": {"all": "yes"}, "production": {"count": 1}, "env": "test"}
    assert load(Shop, given, others=["env"]).name == "a"
    with pytest.raises(SettingsError) as caught:
        load(Shop, {**given, "conut": 1, "weather": "fine"}, others=["env"])
    assert str(caught.value) == "conut is not a setting; did you mean count?; weather is not a setting"


@pytest.mark.parametrize(
    ("key", "value", "link"),
    [
        ("BAND_PORT", "tcp://172.17.0.2:8080", True),
        ("BAND_PORT_8080_TCP", "tcp://172.17.0.2:8080", True),
        ("BAND_PORT_8080_TCP_ADDR", "172.17.0.2", True),
        ("BAND_NAME", "/director/band", True),
        ("BAND_ENV_PATH", "/usr/bin", True),
        ("BAND_SERVICE_HOST", "10.0.0.1", True),
        ("BAND_SERVICE_PORT_HTTP", "80", True),
        ("BAND_PORT", "8080", False),
        ("BAND_SERVICE_SRC", "/src", False),
        ("BAND_TOKEN", "x", False),
    ],
)
def test_links_of_docker_and_kubernetes_are_known(key: str, value: str, link: bool) -> None:
    """A container or service that is called `band` leaves variables with our prefix in every other's environment."""
    assert is_link(key, value) is link
