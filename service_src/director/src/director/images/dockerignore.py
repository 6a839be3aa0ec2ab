"""The rules of a `.dockerignore`, as Docker reads them: which files of a folder are not part of its build context.

A pattern is matched against the whole path from the root; `*` and `?` stop at a slash, `**` does not. What holds for a
folder holds for all that is in it; `!` takes files back in; the last pattern that matches decides.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import NamedTuple

from director.errors import InvalidValue

NAME = ".dockerignore"
ALWAYS_SENT = frozenset({"Dockerfile", NAME})
"""Docker sends these whatever the patterns say."""


class _Rule(NamedTuple):
    matches: re.Pattern[str]
    takes_back: bool


class DockerIgnore:
    """The patterns of one file; without any, nothing is ignored."""

    def __init__(self, text: str = "") -> None:
        """Read the patterns.

        Raises:
            InvalidValue: one is no pattern; the text names its line.
        """
        self._rules = [*_rules(text.removeprefix("\ufeff"))]
        self._takes_back = any(rule.takes_back for rule in self._rules)

    def ignores(self, path: str) -> bool:
        """Tell whether a file or folder at a path such as `data/a.db` is left out."""
        if path in ALWAYS_SENT:
            return False
        parents = path.split("/")
        spots = ["/".join(parents[: depth + 1]) for depth in range(len(parents))]
        ignored = False
        for rule in self._rules:
            if rule.takes_back == ignored and any(rule.matches.fullmatch(spot) for spot in spots):
                ignored = not rule.takes_back
        return ignored

    def skips(self, folder: str) -> bool:
        """Tell whether nothing in a folder can be part of the context, so that nobody needs to look into it."""
        return not self._takes_back and self.ignores(folder)


def _rules(text: str) -> Iterator[_Rule]:
    for number, line in enumerate(text.splitlines(), 1):
        pattern = line.strip()
        if not pattern or line.startswith("#"):
            continue
        takes_back = pattern.startswith("!")
        pattern = pattern[1:].strip() if takes_back else pattern
        if not pattern:
            raise InvalidValue(
                f"{NAME} line {number}: there is no pattern behind the !", "write one, or remove the line"
            )
        try:
            yield _Rule(_compiled(posixpath.normpath(pattern).lstrip("/")), takes_back)
        except re.error:
            raise InvalidValue(f"{NAME} line {number}: {line.strip()[:100]!r} is not a pattern", "correct it") from None


def _compiled(pattern: str) -> re.Pattern[str]:
    """Return the expression for a pattern, piece by piece as in moby's `patternmatcher`."""
    found, at = "", 0
    while at < len(pattern):
        char, ahead = pattern[at], pattern[at + 1 :]
        at += 1
        if char == "*" and ahead.startswith("*"):
            at += 2 if ahead.startswith("*/") else 1
            found += ".*" if at >= len(pattern) else "(?:.*/)?"
        elif char == "*":
            found += "[^/]*"
        elif char == "?":
            found += "[^/]"
        elif char == "\\" and ahead:
            found += re.escape(ahead[0])
            at += 1
        elif char == "[" and "]" in ahead[1:]:
            end = at + ahead.index("]", 1)
            found += f"[{pattern[at:end].replace('[', chr(92) + '[')}]"
            at = end + 1
        elif char == "[":
            raise re.error("a set of characters does not end", pattern, at)
        else:
            found += re.escape(char)
    return re.compile(found, re.DOTALL)
