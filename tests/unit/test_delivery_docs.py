"""The pages of send_mixpanel, its double and the bot say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from director.api.handlers import ENDPOINTS
from mixpanel_double import rules, store
from mixpanel_double.faults import Fault, Faults
from send_mixpanel import mapping, properties
from send_mixpanel.options import HOSTS, SECRET_RETIRED
from send_mixpanel.project_sender import DOUBTS_MOST

ROOT = Path(__file__).resolve().parents[2]
SETTING = re.compile(r"\{\{ (\w+)\|default\(([^)]*)\) *(?:\|tojson *)?\}\}")
OF_EVERY_SERVICE = {"NAME", "HOST", "PORT", "REDIS_DSN"}


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of all tables."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]


@pytest.mark.parametrize("name", ["send_mixpanel", "mixpanel_double", "tg_hellobot"])
def test_every_setting_stands_on_the_page_of_its_service(name: str) -> None:
    """Each variable of config.yaml has its row with its default, in the order of the names; no other variable has."""
    config = (ROOT / "band_images" / name / "config.yaml").read_text(encoding="utf-8")
    wanted = {
        variable: default.strip("'")
        for variable, default in SETTING.findall(config)
        if variable not in OF_EVERY_SERVICE
    }
    told: dict[str, str] = {}
    for names, defaults, *_ in rows(page(name).split("## Settings")[1]):
        found = re.findall(r"`(\w+)`", names)
        values = [value.strip("` ") for value in defaults.split(",")] if len(found) > 1 else [defaults.strip("`")]
        told.update(zip(found, values if len(values) == len(found) else values * len(found), strict=True))
    assert told == wanted


def test_the_record_of_the_page_is_what_is_sent() -> None:
    """The first two whole objects of the part: an event, and exactly the record that is made of it."""
    part = page("send_mixpanel").split("## What it sends")[1]
    event, record = (json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", part, re.DOTALL | re.MULTILINE))
    made = msgspec.json.decode(mapping.to_record(event).body)
    assert json.dumps(made) == json.dumps(record)
    assert rules.complaint(made, now=1_795_468_800) is None


def test_the_reasons_of_the_page_are_those_of_health() -> None:
    """Each reason quoted in the table of failures is written by the code, and none of the code's is missing."""
    code = (ROOT / "service_src/send_mixpanel/src/send_mixpanel/condition.py").read_text(encoding="utf-8")
    told = re.findall(r"[Hh]ealth `\w+`: `([^`]+)`", page("send_mixpanel"))
    assert len(told) == len(set(told)) == code.count('"reason": f"') + code.count('"reason": "')
    assert [text for text in told if text not in code] == []


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    """Limits, hosts, the end of API secrets."""
    text = page("send_mixpanel")
    assert f"{SECRET_RETIRED:%-d %B %Y}" in text
    assert all(f"`{region}`" in text for region in HOSTS)
    assert all(HOSTS[region].removeprefix("https://") in text for region in ("eu", "in"))
    assert f"at most {properties.MAX_PROPERTIES} properties" in text
    assert f"cut at {properties.MAX_TEXT} characters, lists at {properties.MAX_ITEMS} items" in text
    assert f"first {mapping._URL_READ:,} characters" in text
    assert DOUBTS_MOST == 3
    assert "after three in a row" in text


@pytest.mark.parametrize("name", ["send_mixpanel", "mixpanel_double", "tg_hellobot"])
def test_commands_of_the_pages_have_a_target(name: str) -> None:
    """Each path of the director is one of its own, each method one that the service exposes."""
    modules = (f"{name}/src/{name}/main.py", "band/src/band/stream/dead_letter_methods.py")
    service = "".join((ROOT / "service_src" / module).read_text(encoding="utf-8") for module in modules)
    first = {endpoint.path.split("/")[1] for endpoint in ENDPOINTS}
    paths = re.findall(r"127\.0\.0\.1:10000/([\w/]+)", page(name))
    assert paths
    for path in paths:
        verb, _, rest = path.partition("/")
        assert verb in first, path
        if verb == "call":
            assert f"def {rest.rpartition('/')[2]}(" in service, path


def test_orders_of_the_double_are_all_on_its_page() -> None:
    """Each fault has a row, and each row's order is understood."""
    orders = [json.loads(cells[0].strip("`")) for cells in rows(page("mixpanel_double")) if cells[0].startswith("`{")]
    faults = Faults()
    for order in orders:
        faults.order(order)
    assert {next(iter(order)) for order in orders} == set(Fault.__struct_fields__) - {"times"}


def test_the_rules_of_the_double_are_those_of_its_page() -> None:
    """Its limits in numbers."""
    text = page("mixpanel_double")
    assert f"at most {rules.MAX_EVENTS:,} events" in text
    assert f"fewer than {rules.MAX_PROPERTIES} properties, nested at most {rules.MAX_DEPTH} deep" in text
    assert f"cut at {store.MAX_TEXT} characters" in text
    assert f"newest {store.MOST_SHOWN:,} or {store.MOST_SHOWN_BYTES // 1_000_000} MB" in text
