"""The pages of the enrichers name every setting with its default, and their examples are what the services answer."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from geo.dataset import Loaded
from geo.lookup import Locator
from mmgeo.asn import Networks
from mmgeo.localized_names import RussianNames
from mmgeo.reader import open_database
from mmgeo.record_mapping import make_locator
from sxgeo.reader import open_sypex
from sxgeo.record_mapping import find, read
from uaparser.hints import Hints
from uaparser.parser import UaParser

ROOT = Path(__file__).resolve().parents[2]
SETTING = re.compile(r"\{\{ (\w+)\|default\(([^)]*)\) *(?:\|tojson *)?\}\}")
DATA = Path(os.environ.get("BAND_TEST_DATA") or ROOT.parent / "shared" / "data")
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


class Held:
    """An open database with the name of a source."""

    def __init__(self, loaded: Loaded[Any], source: str) -> None:
        assert loaded.build_date is not None
        self.value, self.source, self.build_date = loaded.value, source, f"{loaded.build_date:%Y-%m-%d}"


def example(name: str) -> Any:
    """The first JSON of a page."""
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    return json.loads(page.partition("```json\n")[2].partition("```")[0])


def test_mmgeo_answers_its_example() -> None:
    """The address of the page, with MaxMind's test databases."""
    folder = DATA / "maxmind-db" / "test-data"
    networks = Networks(Held(open_database(folder / "GeoLite2-ASN-Test.mmdb"), "maxmind"))
    places = Held(open_database(folder / "GeoLite2-City-Test.mmdb"), "maxmind")
    answer = make_locator(places, RussianNames(), networks=networks).locate("89.160.20.112")
    assert json.dumps(answer) == json.dumps(example("mmgeo"))


def test_sxgeo_answers_its_example() -> None:
    """The address of the page, with the made-up database."""
    held = Held(open_sypex(DATA / "sypex" / "synthetic_city.dat"), "file")
    assert json.dumps(Locator(held, find, read).locate("77.88.8.8")) == json.dumps(example("sxgeo"))


def test_uaparser_answers_its_example() -> None:
    """A frozen User-Agent and the hints that a phone with Android sends."""
    engine = "AppleWebKit/537.36 (KHTML, like Gecko)"
    ua = f"Mozilla/5.0 (Linux; Android 10; K) {engine} Chrome/130.0.0.0 Mobile Safari/537.36"
    hints = Hints(
        ua='"Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"',
        mobile="?1",
        platform='"Android"',
        platform_version='"14.0.0"',
        model='"Pixel 7"',
    )
    assert json.dumps(UaParser(1).parse_with_hints(ua, hints)) == json.dumps(example("uaparser"))


@pytest.mark.parametrize(("name", "words"), [
    ("mmgeo", ["CC BY 4.0", "<a href='https://db-ip.com'>IP Geolocation by DB-IP</a>", "includes GeoLite Data"]),
    ("sxgeo", ["https://sypexgeo.net", "no redistribution"]),
    ("uaparser", ["Apache-2.0"]),
])  # fmt: skip
def test_every_page_says_whose_data_it_is(name: str, words: list[str]) -> None:
    """Licence and the text of attribution, and what happens when things fail."""
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    assert all(text in page for text in words)
    assert "## When things fail" in page
