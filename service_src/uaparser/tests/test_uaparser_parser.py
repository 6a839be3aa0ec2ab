"""The finished answer, and the cache."""

import os
import timeit
from pathlib import Path

import pytest

from uaparser import MAX_UA_LENGTH, UaParser

DATA = Path(os.environ.get("BAND_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
CHROME_MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/120.0.0.0 Safari/537.36"
)
ORIGINAL = {
    "os_family": "Mac OS X",
    "os_version": [10, 15, 7],
    "browser_family": "Chrome",
    "browser_version": [120, 0, 0],
    "device_family": "Mac",
    "device_brand": "Apple",
    "device_model": "Mac",
    "is_bot": 0,
    "is_tables": 0,
    "is_mob": 0,
    "is_pc": 1,
}


@pytest.fixture(scope="module")
def parser() -> UaParser:
    return UaParser()


def test_uaparser_gives_the_original_answer(parser: UaParser) -> None:
    """The sample of the original's wire gives the same keys in the same order, same values, then our additions."""
    answer = parser.parse(CHROME_MAC)
    assert {key: answer[key] for key in ORIGINAL} == ORIGINAL
    assert list(answer)[: len(ORIGINAL)] == list(ORIGINAL)
    assert {key: answer[key] for key in answer if key not in ORIGINAL} == {"is_tablet": 0, "bot_reason": None}


@pytest.mark.corpus
def test_uaparser_answers_whatever_it_is_given(parser: UaParser) -> None:
    """No line of the corpus, and no junk, raises; every answer has every key, flags are 0 or 1, versions are short."""
    lines = (DATA / "ua-corpus" / "ua_10k.txt").read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    junk = ["", "\x00", "\ud800", "🦊" * 600, "9" * 5000, "Chrome/" + "9" * 400, "Mozilla/5.0 (" * 400, "\n\r\t"]
    for line in lines + junk:
        answer = parser.parse(line)
        assert list(answer)[:11] == list(ORIGINAL)
        assert {answer[flag] for flag in ("is_bot", "is_tables", "is_mob", "is_pc", "is_tablet")} <= {0, 1}
        assert answer["is_tables"] == answer["is_tablet"]
        assert answer["is_tablet"] + answer["is_mob"] + answer["is_pc"] <= 1
        assert bool(answer["bot_reason"]) == bool(answer["is_bot"])
        assert all(part < 10**9 for part in answer["os_version"] + answer["browser_version"] if isinstance(part, int))


def test_uaparser_reads_a_limited_length(parser: UaParser) -> None:
    """What stands behind the 1,024th character changes nothing, so a long text can cost no more than that."""
    padded = CHROME_MAC.ljust(MAX_UA_LENGTH) + " Googlebot/2.1"
    assert parser.parse(padded)["is_bot"] == 0


def test_uaparser_unknown_is_other(parser: UaParser) -> None:
    """A text that no rule knows gives the original's `Other`, empty versions and no brand."""
    answer = parser.parse("xyzzy")
    assert (answer["os_family"], answer["browser_family"], answer["device_family"]) == ("Other", "Other", "Other")
    assert (answer["os_version"], answer["device_brand"]) == ([], None)


def test_uaparser_keeps_version_words(parser: UaParser) -> None:
    """A version that is a word stays a word, as the original has it."""
    answer = parser.parse("Mozilla/5.0 (Windows NT 5.1; rv:52.0) Gecko/20100101 Firefox/52.0")
    assert (answer["os_family"], answer["os_version"]) == ("Windows", ["XP"])


def test_uaparser_a_known_line_is_cheap(parser: UaParser) -> None:
    """A remembered answer takes under 3 µs and is not parsed again."""
    parser.parse(CHROME_MAC)
    before = parser.parsed
    best = min(timeit.repeat(lambda: parser.answer(CHROME_MAC), number=2000, repeat=5)) / 2000
    assert best < 3e-6
    assert parser.parsed == before


def test_uaparser_cache_is_bounded() -> None:
    """The cache never holds more than its size says, and keeps what is asked for again and again."""
    small = UaParser(cache_mb=0.02)
    for number in range(200):
        small.parse(f"App/{number}")
        small.parse(CHROME_MAC)
    assert small.cached() <= small.capacity == 25
    assert small.parsed == 201
