"""The director as somebody meets it who means harm from inside: odd names, image folders, forged documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import yaml

from director.api.handlers import ENDPOINTS
from director.deploy.spec_builder import PlatformConfig, resolve
from director.engine.docker_json import Placement, container_config
from director.errors import InvalidValue
from director.images.catalog import Catalog
from director.redis.users import NO_EVENTS, READ_EVENTS
from director.state.desired import Spec

NAMES = [
    "../etc", "..", "%2e%2e%2fetc", "a/../b", "a%00", "a%0a", "A", "x" * 64, "x" * 5000, "é", "а", "a b", "-a", "a;id",
    "a$(id)", "a`id`", "a:latest", "a@sha256:1", "a&&b", "--help", ".hidden", "__x", "%c0%ae", "a%2fb", "a\\b",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_name_reaches_a_path_a_tag_or_a_shell(director: Any, name: str) -> None:
    """Every endpoint with a name refuses what is none before anything is looked up."""
    for endpoint in ENDPOINTS:
        if "{name}" in endpoint.path:
            path = endpoint.path.replace("{name}", quote(name, safe="%")).replace("{method}", "m")
            status, text = director.request("GET", path)
            assert status in {400, 404, 422}, (path, text)
            assert "Traceback" not in text


@pytest.mark.parametrize(
    "body",
    [
        {"env": {"A\0": "1"}}, {"env": {"A=B": "1"}}, {"env": {"A\nB": "1"}}, {"env": {"A": "1\0"}},
        {"env": {"PORT": "1"}}, {"env": {"A": {"b": 1}}}, {"limits": {"memory": "1m;id"}}, {"image": "evil"},
        {"limits": {"privileged": True}}, {"volumes": {"/": "/host"}}, {"network": "host"}, {"user": "0"},
        {"pos": "1x1\n"}, {"name": "../x"},
    ],
)  # fmt: skip
def test_a_run_takes_nothing_that_leads_out_of_its_container(director: Any, body: dict[str, Any]) -> None:
    """Mounts, networks, users, images and odd variables cannot be given; the folder's own name cannot be changed."""
    director.image("plain")
    assert director.post("/run/plain", body)[0] in {400, 422}


def spec_of(tmp_path: Path, name: str = "one", front_port: int | None = None, **band: Any) -> Spec:
    """Return what would run of a folder with this band.yml."""
    folder = tmp_path / "user" / name
    folder.mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    (folder / "band.yml").write_text(yaml.safe_dump(band))
    around = PlatformConfig(
        namespace="ns", network="ns", env={}, memory="350m", own_ports=frozenset({10000}), front_port=front_port
    )
    return resolve(Catalog(tmp_path, None).get(name), "ns/one:1", {}, around).spec


def test_the_operator_may_choose_fronts_port(tmp_path: Path) -> None:
    """BAND_FRONT_PORT stands for that of front's band.yml, of no other service; the director's own is refused."""
    ports = {"10001": 8080}
    assert spec_of(tmp_path / "a", "front", ports=ports).ports == ports
    assert spec_of(tmp_path / "b", "front", 10002, ports=ports).ports == {"10002": 8080}
    assert spec_of(tmp_path / "c", "other", 10002, ports=ports).ports == ports
    assert spec_of(tmp_path / "d", "front", 10002, ports={"10001": 8080, "10003": 9000}).ports["10001"] == 8080
    with pytest.raises(InvalidValue, match="BAND_FRONT_PORT: host port 10000 is the director's own"):
        spec_of(tmp_path / "e", "front", 10000, ports=ports)


@pytest.mark.parametrize(("band", "keys"), [
    ({}, ()), ({"redis_events": "listen", "redis_keys": ["a"]}, ("a",)),
    ({"redis_events": "none", "redis_keys": ["a"]}, (NO_EVENTS, "a")), ({"redis_events": "read"}, (READ_EVENTS,)),
])  # fmt: skip
def test_what_a_service_may_do_with_events_is_among_its_keys(tmp_path: Path, band: Any, keys: Any) -> None:
    """As its band.yml says; without a word it may listen."""
    assert spec_of(tmp_path, **band).redis_keys == keys


@pytest.mark.parametrize(
    "band",
    [
        {"volumes": {"/var/run/docker.sock": "/sock"}}, {"volumes": {"/": "/host"}}, {"volumes": {"../x": "/x"}},
        {"volumes": {"data": "/data:rw,z"}}, {"volumes": {"data": "data"}}, {"volumes": {"data": "/a/../../etc"}},
        {"volumes": {"data": "/"}}, {"volumes": {"svc-data": "/data"}}, {"volumes": {"dätä": "/data"}},
        {"volumes": {"data": "/a\nb"}}, {"privileged": True, "ports": {"x": 1}}, {"ports": {"0": 80}},
        {"ports": {"70000": 80}}, {"ports": {"0.0.0.0:80": 80}}, {"ports": {"22": 22}},
        {"ports": {"1023": 80}}, {"ports": {"10000": 80}}, {"ports": {"²": 80}},
        *({"volumes": {"data": path}} for path in ("/etc", "/proc", "/proc/sys", "/sys", "//dev/shm", "/./etc/")),
        {"env": {"PORT": "1"}},
        {"env": {"A B": "1"}}, {"limits": {"memory": "1k"}},
        {"network": "host"}, {"cap_add": ["ALL"]}, {"devices": ["/dev/sda"]},
    ],
)  # fmt: skip
def test_an_image_folder_cannot_ask_for_the_host(tmp_path: Path, band: dict[str, Any]) -> None:
    """Paths of the host, the socket, others' volumes, privileges and devices are no keys of band.yml, or refused."""
    with pytest.raises(InvalidValue):
        spec_of(tmp_path, **band)


def test_whatever_a_folder_asks_for_its_container_is_confined(tmp_path: Path) -> None:
    """Also as root of its container it has no capability, no new privilege, no mount of the host, ports on loopback."""
    spec = spec_of(tmp_path, user="0:0", read_only=False, volumes={"data": "/data"}, ports={"10001": 8080})
    config = container_config(spec, Placement(namespace="ns", ports={10001: 8080}, env={}, memory="350m"))
    host = config["HostConfig"]
    assert (host["CapDrop"], host["SecurityOpt"], host["NetworkMode"]) == (["ALL"], ["no-new-privileges"], "ns")
    assert [binding["HostIp"] for group in host["PortBindings"].values() for binding in group] == ["127.0.0.1"]
    assert not {"Privileged", "CapAdd", "Devices", "PidMode", "IpcMode", "UsernsMode", "VolumesFrom"} & set(host)
    assert "ns-one-data" in str(host.get("Binds") or host.get("Mounts"))
    assert "/var/run" not in str(config)


@pytest.mark.parametrize(
    "more",
    [
        {"network": "host"}, {"network": "container:director"}, {"network": "ns:/proc/1"}, {"volumes": {"/": "/host"}},
        {"volumes": {"x:/etc": "/y"}}, {"volumes": {"data": "/var/run/docker.sock:/x"}},
        {"volumes": {"data": "/proc"}}, {"ports": {"22": 22}}, {"ports": {"x": 22}},
    ],
)  # fmt: skip
def test_a_forged_document_in_redis_does_not_lead_to_the_host(more: dict[str, Any]) -> None:
    """Every service has Redis' password, and what should run is kept there: such a spec makes no container."""
    forged = msgspec.json.decode(msgspec.json.encode({"name": "one", "image": "i", "network": "ns", **more}), type=Spec)
    with pytest.raises(InvalidValue):
        container_config(forged, Placement(namespace="ns", ports={}, env={}, memory="350m"))
