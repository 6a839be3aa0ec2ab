"""Compare maxminddb's readers on one database, and count what mmgeo's check lets through of damaged ones.

``python benchmarks/studies/mmdb_readers.py FILE.mmdb`` prints microseconds of CPU per look-up of new random addresses.
Then it counts how processes end that open copies of the tests' small database with one to four bytes changed at random
and look up one address of each network: of all copies, and of those that the check accepts. An exception is a good end;
a signal is not.
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
from pathlib import Path
from typing import Any

import maxminddb

from geo.dataset import BadData
from mmgeo.check import check_city

SMALL = Path(__file__).parents[2] / "tests" / "data" / "maxmind-db" / "test-data" / "GeoIP2-City-Test.mmdb"
MODES = {
    "C": maxminddb.MODE_MMAP_EXT,
    "Python, mapped": maxminddb.MODE_MMAP,
    "Python, memory": maxminddb.MODE_MEMORY,
}
ADDRESSES = 50_000
DAMAGED = 1_000


def speed(mode: int, path: str) -> float:
    """Return the microseconds of a look-up."""
    draw = random.Random(1)
    texts = [".".join(map(str, draw.getrandbits(32).to_bytes(4, "big"))) for _ in range(ADDRESSES)]
    with maxminddb.open_database(path, mode) as reader:
        begun = time.process_time()
        for text in texts:
            reader.get(text)
        return (time.process_time() - begun) / len(texts) * 1e6


def damaged_copy(seed: int) -> bytes:
    draw, damaged = random.Random(seed), bytearray(SMALL.read_bytes())
    for _ in range(draw.randrange(1, 5)):
        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
    return bytes(damaged)


def survive(first: str, last: str) -> None:
    """Ask one damaged copy after the other; prints each one's number before, so that the last one is known."""
    with maxminddb.open_database(SMALL) as whole:
        addresses: list[Any] = [network[0] for network, _record in whole]
    with tempfile.NamedTemporaryFile(suffix=".mmdb") as file:
        for seed in range(int(first), int(last)):
            print(seed, flush=True)
            Path(file.name).write_bytes(damaged_copy(seed))
            with contextlib.suppress(Exception), maxminddb.open_database(file.name) as reader:
                for address in addresses:
                    with contextlib.suppress(Exception):
                        reader.get(address)


def deaths(first: int, last: int) -> dict[int, str]:
    """Return the seeds of the copies that end a process, and how."""
    found: dict[int, str] = {}
    while first < last:
        argv = [sys.executable, __file__, "--survive", str(first), str(last)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode == 0:
            break
        seed = int(done.stdout.split()[-1])
        found[seed] = f"signal {-done.returncode}" if done.returncode < 0 else done.stderr[-200:]
        first = seed + 1
    return found


def accepted(count: int) -> set[int]:
    """Return the seeds of the copies that mmgeo's check lets through."""
    found = set()
    with tempfile.NamedTemporaryFile(suffix=".mmdb") as file:
        for seed in range(count):
            Path(file.name).write_bytes(damaged_copy(seed))
            with contextlib.suppress(BadData):
                check_city(Path(file.name))
                found.add(seed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--survive", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("file", nargs="?", default=str(SMALL))
    options = parser.parse_args()
    if options.survive:
        survive(*options.survive)
        return
    print(f"maxminddb {maxminddb.__version__}, {options.file}")
    for name, mode in MODES.items():
        print(f"{name:15} {speed(mode, options.file):7.1f} µs a look-up")
    dead, good = deaths(0, DAMAGED), accepted(DAMAGED)
    ends = ", ".join(f"{count} x {how}" for how, count in collections.Counter(dead.values()).items()) or "none"
    print(f"of {DAMAGED} damaged files ended the process: {ends}")
    print(f"the check accepts {len(good)} of them; of these ended the process: {len(dead.keys() & good)}")


if __name__ == "__main__":
    main()
