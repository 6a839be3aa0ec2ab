"""band_container: replaced only when it differs, and by what answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_modules import run


def container(image: str, **more: Any) -> dict[str, Any]:
    """Return what band_container is told."""
    return {
        "name": "redis",
        "image": image,
        "watched": False,
        "ready_command": ["redis-health"],
        "ready_timeout": 1,
        **more,
    }


def test_a_container_is_replaced_only_when_it_differs(docker: Path) -> None:
    """The label says whether it is what it should be: the second call does nothing, another limit replaces it."""
    assert run("band_container", container("redis:1"), check=True, path=docker)["action"] == "create"
    assert run("band_container", container("redis:1"), path=docker)["action"] == "create"
    assert run("band_container", container("redis:1"), path=docker)["changed"] is False
    told = run("band_container", container("redis:1", options=["--memory=1g"]), check=True, path=docker)
    assert told["action"] == "replace"
    assert "--memory=1g" in told["diff"]["after"]
    assert run("band_container", container("redis:1", options=["--memory=1g"]), path=docker)["action"] == "replace"


def test_a_container_that_does_not_answer_gives_way_to_the_one_of_before(docker: Path) -> None:
    """The new one's last words are the error, and the old one runs again under its name."""
    run("band_container", container("redis:1"), path=docker)
    done = run("band_container", container("redis:broken"), path=docker)
    assert done["failed"]
    assert done["rolled_back"] is True
    assert "its last word" in done["msg"]
    engine = json.loads((docker / "engine.json").read_text())["containers"]
    assert set(engine) == {"redis"}
    assert engine["redis"]["Config"]["Image"] == "redis:1"
    assert engine["redis"]["State"]["Running"]


def test_a_container_of_somebody_else_is_left_alone(docker: Path) -> None:
    """Without our label it is not ours, whatever it is called."""
    theirs = {"Id": "x", "Name": "/redis", "State": {"Running": True}, "Config": {"Image": "redis:7", "Labels": {}}}
    (docker / "engine.json").write_text(json.dumps({"containers": {"redis": theirs}, "calls": []}))
    done = run("band_container", container("redis:1"), path=docker)
    assert done["failed"]
    assert "not ours" in done["msg"]
    assert json.loads((docker / "engine.json").read_text())["containers"]["redis"] == theirs
