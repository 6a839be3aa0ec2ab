"""Settings: all problems at once, secrets out of sight, and the example that ships."""

import ipaddress
from pathlib import Path

import pytest

import front.settings
from band.config import read_settings
from band.errors import SettingsError
from front.container_networks import Surroundings
from front.settings import FrontSettings

IMAGE = Path(__file__).parents[3] / "band_images" / "front"


def test_defaults_are_safe() -> None:
    """Addresses truncated, no foreign redirects, no proxy trusted but on this host."""
    settings = FrontSettings.read({})
    assert (settings.ip_privacy, settings.redirect_hosts, settings.enrich_timeout_ms) == ("truncate", (), 200)
    assert [str(network) for network in settings.trusted_proxies] == ["127.0.0.0/8", "::1/128"]


def test_the_gateway_is_trusted_by_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default it is there; with proxies of one's own only when it is named. The container's networks stay near."""
    gateway, network = (ipaddress.ip_network(text) for text in ("172.18.0.1/32", "172.18.0.0/16"))
    monkeypatch.setattr(front.settings, "surroundings", lambda: Surroundings((gateway,), (network,)))
    assert gateway in FrontSettings.read({}).trusted_proxies
    assert gateway in FrontSettings.read({"trusted_proxies": "Gateway, 192.0.2.1"}).trusted_proxies
    own = FrontSettings.read({"trusted_proxies": "192.0.2.1"})
    assert [str(found) for found in own.trusted_proxies] == ["192.0.2.1/32"]
    assert [str(found) for found in own.near] == ["127.0.0.0/8", "::1/128", "172.18.0.0/16", "192.0.2.1/32"]


def test_the_image_reads_its_settings_from_the_environment() -> None:
    """config.yaml renders with nothing set and with everything set, whatever a secret holds."""
    plain = FrontSettings.read(read_settings(IMAGE, {}))
    assert (plain.event_port, plain.http_prefix, plain.stored, plain.body_limit) == (8080, "/_band", True, 102400)
    env = {
        "PORT": "9000", "DOMAIN": "www.shop.example.com", "IP_PRIVACY": "hash", "IP_HASH_KEY": "a: 'b' \"c\" # {d}",
        "TRUSTED_PROXIES": "192.0.2.1, 2001:db8::/32", "REDIRECT_HOSTS": "A.example,*.b.example", "STORED": "no",
        "ENRICH_TIMEOUT_MS": "150", "EVENTS_MAXLEN": "5000", "BODY_LIMIT": "2048", "WS_PORT": "9002", "WORKER_ID": "3",
    }  # fmt: skip
    full = FrontSettings.read(read_settings(IMAGE, env))
    assert (full.event_port, full.domain, full.ip_hash_key.reveal()) == (9000, ".example.com", env["IP_HASH_KEY"])
    assert [str(network) for network in full.trusted_proxies] == ["192.0.2.1/32", "2001:db8::/32"]
    assert full.redirect_hosts == ("a.example", "*.b.example")
    assert (full.stored, full.enrich_timeout_ms, full.ws_port, full.worker_id) == (False, 150, 9002, 3)


def test_every_problem_is_told_at_once() -> None:
    """Three mistakes, three lines, each naming the setting and the way out."""
    values = {
        "ip_privacy": "none",
        "trusted_proxies": "here",
        "enrich_timeout_ms": "soon",
        "domain": "http://x/",
        "stored": "so",
    }
    with pytest.raises(SettingsError) as wrong:
        FrontSettings.read(values)
    assert [name for name in values if f"{name}=" not in str(wrong.value)] == []
    assert "truncate, hash, raw" in str(wrong.value)


def test_hashing_needs_a_key_and_never_shows_it(tmp_path: Path) -> None:
    """A missing or short key is refused, files that contain keys are read; keys are not in the settings' text."""
    with pytest.raises(SettingsError, match="IP_HASH_KEY"):
        FrontSettings.read({"ip_privacy": "hash", "ip_hash_key": "short"})
    (tmp_path / "key").write_text("sesame" * 4)
    env = {"IP_PRIVACY": "hash", "IP_HASH_KEY_FILE": str(tmp_path / "key"), "REDIRECT_KEY_FILE": str(tmp_path / "key")}
    found = FrontSettings.read(read_settings(IMAGE, env))
    assert found.ip_hash_key.reveal() == found.redirect_key.reveal() == "sesame" * 4
    assert "sesame" not in repr(FrontSettings.read({"ip_hash_key": "sesame" * 4, "redirect_key": "sesame"}))
