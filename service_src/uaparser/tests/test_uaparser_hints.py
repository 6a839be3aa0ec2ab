"""Client hints over frozen User-Agents."""

from __future__ import annotations

from typing import Any

import pytest

from uaparser import UaParser
from uaparser.hints import Hints

parser = UaParser(cache_mb=1)
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
FROZEN_PHONE = f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/130.0.0.0 Mobile Safari/537.36"
FROZEN_PC = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/130.0.0.0 Safari/537.36"
FROZEN_MAC = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Chrome/130.0.0.0 Safari/537.36"
LINUX = f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/130.0.0.0 Safari/537.36"
CHROME = '"Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"'
BRAVE = '"Not?A_Brand";v="99", "Brave";v="130", "Chromium";v="130"'


@pytest.mark.parametrize(
    ("ua", "hints", "expected"),
    [
        (
            FROZEN_PHONE,
            Hints(CHROME, "?1", '"Android"', '"14.0.0"', '"Pixel 7"'),
            {"os_family": "Android", "os_version": [14], "device_model": "Pixel 7", "device_family": "Pixel 7",
             "browser_family": "Chrome Mobile", "is_mob": 1, "is_pc": 0},
        ),
        (FROZEN_PC, Hints(CHROME, "?0", '"Windows"', '"15.0.0"'), {"os_version": [11], "is_pc": 1}),
        (FROZEN_PC, Hints(CHROME, "?0", '"Windows"', '"10.0.0"'), {"os_version": [10], "is_pc": 1}),
        (FROZEN_MAC, Hints(CHROME, "?0", '"macOS"', '"14.4.1"'), {"os_version": [14, 4, 1]}),
        (FROZEN_PC, Hints(BRAVE), {"browser_family": "Brave", "browser_version": [130]}),
        (
            FROZEN_PC,
            Hints(CHROME, full_version_list='"Google Chrome";v="130.0.6723.70", "Not?A_Brand";v="99.0.0.0"'),
            {"browser_family": "Chrome", "browser_version": [130, 0, 6723]},
        ),
        (LINUX, Hints(CHROME, "?0", '"Android"'), {"is_tablet": 1, "is_tables": 1, "is_pc": 0, "is_mob": 0}),
        (LINUX, Hints(CHROME, "?1", '"Android"'), {"is_mob": 1, "is_pc": 0, "is_tablet": 0}),
        (FROZEN_PC, Hints(CHROME, "?0", '"macOS"', '"14.4.1"'), {"os_family": "Windows", "os_version": [10]}),
    ],
)  # fmt: skip
def test_uaparser_believes_hints(ua: str, hints: Hints, expected: dict[str, Any]) -> None:
    """Model, real versions, the brand behind Chrome, tablet or phone; a system that contradicts changes nothing."""
    answer = parser.parse_with_hints(ua, hints)
    assert {key: answer[key] for key in expected} == expected
    assert set(answer) == set(parser.parse(ua))


@pytest.mark.parametrize("junk", ["", '"', '""', "?", '"a";v=', '"' * 500, "\x00", "Б" * 400, '"x";v="9"' * 50])
def test_uaparser_survives_junk_hints(junk: str) -> None:
    """Whatever a client writes into them, the answer has the same keys, flags stay 0 or 1, the shared one is intact."""
    before = dict(parser.parse(FROZEN_PC))
    answer = parser.parse_with_hints(FROZEN_PC, Hints(*[junk] * 6))
    assert set(answer) == set(before)
    assert {answer[flag] for flag in ("is_tablet", "is_mob", "is_pc")} <= {0, 1}
    assert parser.parse(FROZEN_PC) == before


def test_uaparser_reads_hints_of_a_call() -> None:
    """Only texts count; others are as if not sent."""
    assert Hints.of({"ch_ua": "a", "ch_mobile": 1, "ch_model": {"x": 1}, "ua": "b"}) == Hints(ua="a")
