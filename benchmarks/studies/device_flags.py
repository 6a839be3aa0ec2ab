"""Compare uaparser's device flags with those of the package `user-agents` 2.2.0, the usual public rules.

`python benchmarks/studies/device_flags.py lines.txt` needs that package (`pip install user-agents==2.2.0`) and a file
with one User-Agent per line. A line counts as a browser if it begins with `Mozilla/5.0 (` and names an engine
(`AppleWebKit`, `Gecko/`, `Trident`). The tests' corpus also has many odd old devices.
"""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path

from uaparser.parser import UaParser

FLAGS = {"is_tablet": "is_tablet", "is_mob": "is_mobile", "is_pc": "is_pc", "is_bot": "is_bot"}
BROWSER = re.compile(r"^Mozilla/5\.0 \(.*(?:AppleWebKit|Gecko/|Trident)")


def agreement(lines: list[str]) -> dict[str, float]:
    """Return flag → percent of lines on which both say the same."""
    theirs = importlib.import_module("user_agents").parse
    ours = UaParser()
    same = dict.fromkeys(FLAGS, 0)
    for line in lines:
        said, other = ours.parse(line), theirs(line)
        for flag, attribute in FLAGS.items():
            same[flag] += bool(said[flag]) == bool(getattr(other, attribute))
    return {flag: 100 * count / len(lines) for flag, count in same.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    lines = parser.parse_args().file.read_text(encoding="utf-8", errors="replace").splitlines()
    for name, chosen in (("browsers", [line for line in lines if BROWSER.search(line)]), ("all", lines)):
        figures = "  ".join(f"{flag} {percent:.1f} %" for flag, percent in agreement(chosen).items())
        print(f"{name:9} {len(chosen):6} lines  {figures}")


if __name__ == "__main__":
    main()
