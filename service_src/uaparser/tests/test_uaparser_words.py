"""Words looked for by the Rust engine."""

import pytest

from uaparser import UaParser
from uaparser.words import Words, split


def test_uaparser_words_first_rule_wins() -> None:
    """Rules are tried in the order given, wherever in the text they are found; none is an empty text."""
    words = Words([*split("b", r"second \bthird\b"), *split("a", "first")])
    assert words.find("first and second") == "b"
    assert words.find("the first") == "a"
    assert words.find("thirdly") == ""


def test_uaparser_words_have_blanks() -> None:
    """A `~` is a blank, because white space separates patterns."""
    assert Words(split("x", "opera~mini")).find("an opera mini") == "x"


def test_uaparser_words_refuse_what_is_no_pattern() -> None:
    """A pattern that the engine does not know (look-around, for one) ends the start, not an answer."""
    with pytest.raises(ValueError, match="look-around"):
        Words(split("x", "a(?!b)"))


def test_uaparser_amazons_browser_says_what_it_runs_on() -> None:
    """Silk says Mobile on the phone and nothing on tablets."""
    tail = "AppleWebKit/537.36 (KHTML, like Gecko) Silk/120.1"
    parser = UaParser(cache_mb=1)
    assert parser.parse(f"Mozilla/5.0 (Linux; Android 9; X1) {tail} like Chrome/120.0")["is_tablet"] == 1
    assert parser.parse(f"Mozilla/5.0 (Linux; Android 9; X1) {tail} like Chrome/120.0 Mobile")["is_mob"] == 1
