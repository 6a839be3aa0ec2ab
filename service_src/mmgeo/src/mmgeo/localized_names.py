"""Names that a database leaves out: Russian ones, and the ISO 3166-2 code of a region that is only named."""

from __future__ import annotations

import gettext
import re
import unicodedata
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec
import pycountry

from band.platform import Recent
from geo.translit import transliterate

_NOISE = re.compile(
    r"\b(?:province|state|region|oblast|county|prefecture|governorate|department|departamento|provincia|district|"
    r"municipality|republic|territory|krai|kray|okrug|city|of|the|da|de|do|del|shi|sheng|canton|division|"
    r"wilayat|emirate|parish|special|administrative|autonomous|voivodeship|judetul|kraj|zupanija|qarku|apskritis)\b"
)
_RUSSIAN: Final = "ru"
_MAX_REGIONS: Final = 40_000


class _Division(msgspec.Struct):
    code: str
    name: str
    parent: str = ""


class _Divisions(msgspec.Struct):
    rows: list[_Division] = msgspec.field(name="3166-2")


class RussianNames:
    """Fills names from, in this order: our own table of well-known ones, pycountry's translations, transliteration."""

    def __init__(self) -> None:
        self._cities = _table("cities.tsv")
        self._countries = gettext.translation("iso3166-1", pycountry.LOCALES_DIR, [_RUSSIAN], fallback=True)
        self._divisions = gettext.translation("iso3166-2", pycountry.LOCALES_DIR, [_RUSSIAN], fallback=True)
        rows = msgspec.json.decode((Path(pycountry.DATABASE_DIR) / "iso3166-2.json").read_bytes(), type=_Divisions).rows
        self._official = {row.code: row.name for row in rows}
        self._codes: dict[tuple[str, str], str] = {}
        # Of two with one name the larger is meant ("Valencia" is a community, and a province in it), and the one that
        # has it as its whole name before one that only has it as a part of it.
        rows.sort(key=lambda row: bool(row.parent))
        for spell in (lambda name: [_folded(name)], _spellings):
            for row in rows:
                country, _, code = row.code.partition("-")
                for name in spell(row.name):
                    self._codes.setdefault((country, name), code)
        self._russian_regions: dict[str, str] = {}
        for line in _lines("regions.tsv"):
            full, english, russian = line
            country, _, code = full.partition("-")
            for name in filter(None, english.split("|")):
                self._codes[country, _folded(name)] = code
            if russian:
                self._russian_regions[full] = russian
        # Regions are few and asked for with every record; each takes several spellings to find.
        self._known_codes: Recent[tuple[str, str], str] = Recent(_MAX_REGIONS)
        self._known_names: Recent[tuple[str, str, str], str] = Recent(_MAX_REGIONS)

    def country_ru(self, iso: str, english: str) -> str:
        """Return the Russian name of a country."""
        known = pycountry.countries.get(alpha_2=iso)
        translated = self._countries.gettext(known.name) if known else ""
        return translated if translated and known and translated != known.name else transliterate(english, iso)

    def region_iso(self, country: str, english: str) -> str:
        """Return the part after the dash of ISO 3166-2 of a region that is only named, or an empty string."""
        known = self._known_codes.get((country, english))
        if known is None:
            codes = (self._codes.get((country, name), "") for name in _spellings(english))
            known = next(filter(None, codes), "")
            self._known_codes.put((country, english), known)
        return known

    def region_ru(self, country: str, iso: str, english: str) -> str:
        """Return the Russian name of a region."""
        key = (country, iso, english)
        known = self._known_names.get(key)
        if known is None:
            known = self._find_region_ru(*key)
            self._known_names.put(key, known)
        return known

    def _find_region_ru(self, country: str, iso: str, english: str) -> str:
        full = f"{country}-{iso}"
        if known := self._russian_regions.get(full):
            return known
        official = self._official.get(full, "")
        translated = self._divisions.gettext(official) if official else ""
        return translated if translated and translated != official else self.city_ru(country, english)

    def city_ru(self, country: str, english: str) -> str:
        """Return the Russian name of a city."""
        return self._cities.get(f"{country} {english}") or transliterate(english, country)


def _lines(name: str) -> list[list[str]]:
    text = resources.files("mmgeo").joinpath("data", name).read_text("utf-8")
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


def _table(name: str) -> dict[str, str]:
    """Return ``"GB London" → "Лондон"`` of lines ``GB<tab>London=Лондон; York=Йорк``."""
    found = {}
    for country, names in _lines(name):
        for pair in names.split(";"):
            english, _, russian = pair.strip().partition("=")
            found[f"{country} {english}"] = russian
    return found


def _spellings(name: str) -> list[str]:
    """Return the folded name, then the one without words like "province": ``Bayern``, ``Hunan Sheng`` → ``hunan``."""
    spellings = [_folded(name)]
    parts = re.split(r"\s*[\[\(/,]\s*", name.rstrip(")]"))
    spellings += [_folded(part) for part in parts if part]
    bare = [_folded(_NOISE.sub(" ", spelling)) for spelling in spellings]
    return list(dict.fromkeys(spelling for spelling in spellings + bare if spelling))


def _folded(name: str) -> str:
    """Return a name without case, accents, apostrophes and double spaces."""
    plain = unicodedata.normalize("NFKD", name.replace("ł", "l").replace("ø", "o").replace("đ", "d").replace("ı", "i"))
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter)).casefold()
    return " ".join(re.sub(r"['’ʼ`´.]", "", letters.replace("-", " ")).split())
