"""Compare maxminddb's readers with ours, on one database and on damaged ones.

``python benchmarks/studies/mmdb_readers.py FILE.mmdb`` prints microseconds of CPU per look-up of new random addresses.
Then it counts how processes end that open copies of the tests' small database with one to four bytes changed at random,
look up six addresses, and walk through it. An exception is a good end; a signal is not.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import maxminddb

from geo.address import Address, check_address
from mmgeo.reader import open_city

SMALL = Path(__file__).parents[2] / "tests" / "data" / "maxmind-db" / "test-data" / "GeoIP2-City-Test.mmdb"
PROBES = ("2.125.160.216", "81.2.69.142", "89.160.20.112", "175.16.199.1", "216.160.83.56", "2001:218::1")
MODES = {
    "maxminddb, C": maxminddb.MODE_MMAP_EXT,
    "maxminddb, Python, mapped": maxminddb.MODE_MMAP,
    "maxminddb, Python, memory": maxminddb.MODE_MEMORY,
}
ADDRESSES = 50_000
DAMAGED = 1_000


def look_up(reader: Any) -> Callable[[str], object]:
    def ask(text: str) -> object:
        address = check_address(text)
        offset = reader.find(address) if isinstance(address, Address) else None
        return None if offset is None else reader.record(offset)

    return ask


def open_as(name: str, path: str) -> tuple[Callable[[str], object], Callable[[], object]]:
    """Return what looks an address up, and what walks through the whole file."""
    if name == "ours":
        reader = open_city(Path(path)).value
        return look_up(reader), lambda: [reader.record(offset) for offset in reader.networks(5_000)]
    theirs = maxminddb.open_database(path, MODES[name])
    return theirs.get, lambda: sum(1 for _ in theirs)


def speed(name: str, path: str) -> float:
    draw = random.Random(1)
    texts = [".".join(map(str, draw.getrandbits(32).to_bytes(4, "big"))) for _ in range(ADDRESSES)]
    ask, _ = open_as(name, path)
    begun = time.process_time()
    for text in texts:
        ask(text)
    return (time.process_time() - begun) / len(texts) * 1e6


def survive(name: str, first: str) -> None:
    """Open one damaged copy after the other; prints each one's number before, so that the last one is known."""
    data = SMALL.read_bytes()
    with tempfile.NamedTemporaryFile(suffix=".mmdb") as file:
        for number in range(int(first), DAMAGED):
            print(number, flush=True)
            draw, damaged = random.Random(number), bytearray(data)
            for _ in range(draw.randrange(1, 5)):
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
            Path(file.name).write_bytes(damaged)
            with contextlib.suppress(Exception):
                ask, walk = open_as(name, file.name)
                for probe in PROBES:
                    with contextlib.suppress(Exception):
                        ask(probe)
                walk()


def deaths(name: str) -> dict[str, int]:
    found: collections.Counter[str] = collections.Counter()
    first = 0
    while first < DAMAGED:
        argv = [sys.executable, __file__, "--survive", name, str(first)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode == 0:
            break
        found[f"signal {-done.returncode}" if done.returncode < 0 else done.stderr[-200:]] += 1
        first = int(done.stdout.split()[-1]) + 1
    return dict(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--survive", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("file", nargs="?", default=str(SMALL))
    options = parser.parse_args()
    if options.survive:
        survive(*options.survive)
        return
    print(f"maxminddb {maxminddb.__version__}, {options.file}")
    for name in ("ours", *MODES):
        ended = ", ".join(f"{count} x {how}" for how, count in deaths(name).items()) or "none"
        print(
            f"{name:26} {speed(name, options.file):7.1f} µs a look-up; "
            f"of {DAMAGED} damaged files ended the process: {ended}"
        )


if __name__ == "__main__":
    main()
