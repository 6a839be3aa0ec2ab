"""band_prune and band_erase: what is gone, and what stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_modules import laid, prepared, run


def test_prune_leaves_what_was_run_by_hand_and_the_demo(director: Any, tmp_path: Path) -> None:
    """What an inventory named and does not any more goes; the rest is told, and goes when it is named."""
    record = {"record": str(tmp_path / "services.json")}
    args = prepared(director, "band_services", {})
    wanted = [{"name": name, "env": {"OLD": "1"}} for name in ("front", "uaparser", "mixpanel_double")]
    assert not run("band_services", {**args, "services": wanted, "demo": ["mixpanel_double"], **record}).get("failed")
    director.answer("/run/weekday", {})
    director.services["elsewhere"] = {"name": "elsewhere", "state": "external", "wanted": "unknown", "health": "ok"}
    look = {"url": director.url, "keep": ["front", "mmgeo", "sxgeo"], **record}
    found = run("band_prune", look)
    assert (found["services"], found["by_hand"], found["demo"]) == (["uaparser"], ["weekday"], ["mixpanel_double"])
    assert run("band_prune", {**look, "apply": True}, check=True)["changed"] is True
    assert "uaparser" in director.services
    done = run("band_prune", {**look, "apply": True, "also": ["weekday"]})
    assert done["services"] == ["uaparser", "weekday"]
    assert set(director.services) == {"front", "mmgeo", "sxgeo", "mixpanel_double", "elsewhere"}
    assert run("band_prune", look)["services"] == []
    # Without a record, as on a host of an earlier version, nobody knows who ran what.
    assert run("band_prune", {**look, "record": str(tmp_path / "none")})["by_hand"] == ["mixpanel_double"]


def test_what_is_gone_is_removed_once(docker: Path, tmp_path: Path) -> None:
    """Check mode counts what is there; after it is gone the same call finds nothing to do."""
    laid(tmp_path / "host", docker)
    args = {"containers": ["sxgeo", "nobody"], "volumes": ["rockstat-sxgeo-data"]}
    told = run("band_erase", args, check=True, path=docker)
    assert told["diff"]["before"] == "container: sxgeo\nvolume: rockstat-sxgeo-data\n"
    assert run("band_erase", args, path=docker)["changed"] is True
    assert run("band_erase", args, path=docker)["changed"] is False
