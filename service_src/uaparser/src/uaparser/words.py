"""Words looked for in a User-Agent, many at once: ua-parser's Rust engine runs only those whose letters occur at all.

The same patterns as one alternation of Python's `re` took 150 µs a line, three quarters of the whole answer.
"""

from collections.abc import Iterable
from typing import Any

import ua_parser_rs


class Words:
    """Patterns with names, tried in order; the first that is found wins.

    Args:
        rules: (name, regular expression) in the syntax of Rust's regex crate, without look-around.

    Raises:
        ValueError: a pattern is no regular expression.
    """

    def __init__(self, rules: Iterable[tuple[str, str]]) -> None:
        # A rule of ua-parser has more columns: versions, which are of no use here.
        rows = [(pattern, name, None, None, None, None) for name, pattern in rules]
        self._extractor: Any = ua_parser_rs.UserAgentExtractor(rows)

    def find(self, text: str) -> str:
        """Return the name of the first rule that is found in a text (in lower case); an empty text when none is."""
        found = self._extractor.extract(text)
        return found.family if found is not None else ""


def split(name: str, patterns: str) -> list[tuple[str, str]]:
    """Return a rule for each of the patterns, which are separated by white space; a `~` stands for a blank."""
    return [(name, pattern.replace("~", " ")) for pattern in patterns.split()]
