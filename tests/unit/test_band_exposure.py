"""band_exposure: the ports that can be reached from outside."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from ansible_modules import run


@pytest.mark.parametrize(("address", "seen"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_the_ports_of_the_proxy_are_told(address: str, docker: Path, tmp_path: Path, *, seen: bool) -> None:
    """A port of nginx' configuration that is listened on beyond loopback can be reached, and was asked for."""
    with socket.create_server((address, 0)) as server:
        port = server.getsockname()[1]
        conf = tmp_path / "rockstat.conf"
        conf.write_text(f"server {{\n    listen {port} ssl;\n    listen [::]:{port} ssl;\n    listen 1;\n}}\n")
        done = run("band_exposure", {"proxy": str(conf)}, path=docker)
    assert done["open"] == ([{"container": "nginx", "address": "0.0.0.0", "port": port}] if seen else [])
    assert done["unexpected"] == []


def test_a_port_beyond_loopback_is_told_whatever_the_firewall_says(tmp_path: Path) -> None:
    """Docker's rules come before those of UFW: the warning names the port and the firewall that does not stop it."""
    bindings = {"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "10000"}], "1/tcp": [{"HostIp": "127.0.0.1"}]}
    inspected = json.dumps([{"Name": "/director", "HostConfig": {"PortBindings": bindings}}])
    scripts = {"docker": f"[ \"$2\" = ls ] && echo id || echo '{inspected}'", "ufw": "echo 'Status: active'"}
    for name, text in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = run("band_exposure", {"proxy": "/nonexistent"}, path=tmp_path)
    assert [row["port"] for row in done["unexpected"]] == [10000]
    assert "ufw" in done["firewalls"]
    assert "director can be reached from outside on 0.0.0.0:10000 (ufw" in done["_text"]
    meant = run("band_exposure", {"proxy": "/nonexistent", "intended": [10000]}, path=tmp_path)
    assert (len(meant["open"]), meant["unexpected"]) == (1, [])
