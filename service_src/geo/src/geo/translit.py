"""Latin place names in Cyrillic: practical transcription into Russian by the rules of the country's language.

It is a best effort for names that no database translates: sounds, not letters (``Boxford`` is «Боксфорд»).
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final

_WORD = re.compile(r"[^\W\d_]+(?:['’ʼ`´][^\W\d_]*)*", re.UNICODE)
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
_BEFORE = re.compile(r"^\^?(?:\(\?<=[^)]*\))?")
_OPTIONAL: Final = frozenset("?*{")
_SPACED: Final = frozenset({"bgn", "belarusian", "ukrainian", "bulgarian"})
_KIND = re.compile(r"(?<=\w) (?:city|town|township|district|county|municipality|province)$", re.IGNORECASE)
"""What English maps write behind the names of other countries' places; those of Russian maps do not."""


class _Language:
    """Rules of one language, the first that matches at a place wins; compiled by the letter at which they can begin.

    One pattern of all rules tries some hundred of them at each letter: 17 µs, where two or three can be meant.
    """

    def __init__(self, rules: str) -> None:
        self._rules = [tuple(rule.rsplit("=", 1)) for rule in rules.split()]
        self._by_letter: dict[str, tuple[re.Pattern[str], list[str]]] = {}

    def word(self, word: str) -> str:
        """Return a lower-case word in Cyrillic; letters without a rule go by the common table."""
        done, at = [], 0
        while at < len(word):
            letter = word[at]
            pattern, replacements = self._by_letter.get(letter) or self._compile(letter)
            match = pattern.match(word, at)
            if match and match.lastindex and match.end() > at:
                done.append(replacements[match.lastindex - 1])
                at = match.end()
            else:
                done.append(_letter(letter))
                at += 1
        return "".join(done).replace("ьа", "ья").replace("ьу", "ью")

    def _compile(self, letter: str) -> tuple[re.Pattern[str], list[str]]:
        rules = [(left, right) for left, right in self._rules if _may_begin(left, letter)]
        pattern = re.compile("|".join(f"({_anchored(left)})" for left, _right in rules))
        self._by_letter[letter] = found = pattern, [right for _left, right in rules]
        return found


def _may_begin(left: str, letter: str) -> bool:
    """Tell whether a rule's pattern can match a text that begins with a letter; in doubt it can."""
    body = _BEFORE.sub("", left)
    if body[:1] == "[":
        return letter in body[: body.index("]")]
    return body[:1] == letter or not body[:1].isalpha() or body[1:2] in _OPTIONAL


def _anchored(left: str) -> str:
    start, end = left.startswith("^"), left.endswith("$")
    body = left[1 if start else 0 : -1 if end else None]
    return (r"(?<![^\W\d_])" if start else "") + body.replace("(", "(?:").replace("(?:?", "(?") + (r"\b" if end else "")


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(resources.files("geo").joinpath("data", "transliteration.toml").read_text("utf-8"))


@cache
def languages() -> dict[str, str]:
    """Return ISO 3166-1 alpha-2 → the language whose rules its names follow; others are ``plain``."""
    return {country: language for language, codes in _data()["countries"].items() for country in codes.split()}


@cache
def rules() -> dict[str, str]:
    """Return language → its rules."""
    found: dict[str, str] = dict(_data()["rules"])
    for language, other in _data()["continued"].items():
        found[language] += found[other]
    # A final n goes to the next syllable when a vowel follows: Ji-nan, not Jin-an, which is written Jin'an.
    return found | {"chinese": re.sub(r"(\w*n)=", r"\1(?![aeiouü])=", found["chinese"])}


@cache
def _letters() -> dict[str, str]:
    data = _data()["letters"]
    return dict(zip(data["latin"], data["russian"].split(), strict=True)) | dict.fromkeys(data["dropped"], "")


@cache
def _language(name: str) -> _Language:
    return _Language(rules()[name])


@lru_cache(maxsize=4096)
def transliterate(name: str, country: str = "") -> str:
    """Return a Latin place name in Russian letters.

    Args:
        name: the name as the country's maps in Latin letters have it; one in another script is returned as it is.
        country: ISO 3166-1 alpha-2, which decides the language of the rules.
    """
    name = unicodedata.normalize("NFC", name).strip()
    if not _LATIN.search(name) or _CYRILLIC.search(name):
        return name
    language = languages().get(country, "plain")
    if language not in ("english", "plain"):
        name = _KIND.sub("", name)
    own = _language(language)
    done = _WORD.sub(lambda match: _cased(match[0], own.word(match[0].lower())), name)
    if language not in _SPACED:  # Russian joins the words of foreign names: «Пало-Алто»
        done = re.sub(r"(?<=[^\W\d_])\.? +(?=[^\W\d_])", "-", done)
    return done


def _cased(word: str, cyrillic: str) -> str:
    if word[1:2] in ("'", "’") and word[2:3].isupper() and cyrillic[1:2] == "’":  # d'Ascq: «д’Аск»
        return cyrillic[:2] + cyrillic[2:].capitalize()
    if word[:1].isupper() and cyrillic:
        return cyrillic.upper() if len(word) > 3 and word.isupper() else cyrillic[0].upper() + cyrillic[1:]
    return cyrillic.lower()


def _letter(letter: str) -> str:
    letters = _letters()
    if letter in letters:
        return letters[letter]
    base = unicodedata.normalize("NFKD", letter)[0]
    return letters.get(base, "" if unicodedata.category(letter).startswith(("M", "P", "S")) else letter)
