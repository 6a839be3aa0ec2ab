"""The pages of the enrichers name every setting with its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTING = re.compile(r"\{\{ (\w+)\|default\(([^)]*)\) *(?:\|tojson *)?\}\}")
OF_EVERY_SERVICE = {"NAME", "HOST", "PORT", "REDIS_DSN"}


@pytest.mark.parametrize("name", ["mmgeo", "sxgeo", "uaparser"])
def test_every_setting_of_an_enricher_stands_on_its_page(name: str) -> None:
    """A variable of config.yaml has a row, and a number or word that is its default stands in that row."""
    config = (ROOT / "band_images" / name / "config.yaml").read_text(encoding="utf-8")
    rows = [line for line in (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8").splitlines() if "|" in line]
    found = {variable: default.strip("'") for variable, default in SETTING.findall(config)}
    assert "ENRICH_KEYS" in found
    for variable, default in found.items():
        if variable in OF_EVERY_SERVICE:
            continue
        row = next((row for row in rows if f"`{variable}`" in row.split("|")[1]), None)
        assert row is not None, f"docs/{name}.md has no row for {variable}"
        assert default in row or default.startswith("https://"), (
            f"docs/{name}.md: the default of {variable} is {default}"
        )
