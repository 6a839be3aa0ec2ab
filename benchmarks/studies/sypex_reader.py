"""Check sxgeo's reader on a real city file: agreement with the rule of the format, speed, memory.

``python benchmarks/studies/sypex_reader.py [SxGeoCity.dat]`` (default: the file that ``bin/bench enrich`` fetched). The
rule is read from the bytes without the reader's code: the id of the last range of the file whose start is not above the
address. It is checked for 200,000 random addresses and the borders of 20,000 ranges.
"""

from __future__ import annotations

import argparse
import random
import resource
import struct
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable
from pathlib import Path

from sxgeo.reader import SypexReader, open_sypex

FETCHED = Path(__file__).parents[2] / ".cache" / "databases" / "sxgeo" / "sxgeo.dat"
ADDRESSES = 200_000
RANGES = 20_000


def by_the_rule(path: Path) -> tuple[list[int], list[int]]:
    """Return the starts and the ids of all ranges, as the notes of the format tell to read them."""
    data = path.read_bytes()
    b_len, m_len, _, items, id_len = struct.unpack_from(">BHHLB", data, 10)
    (pack_size,) = struct.unpack_from(">H", data, 38)
    b_idx = struct.unpack_from(f">{b_len}L", data, 40 + pack_size)
    at, width = 40 + pack_size + 4 * b_len + 4 * m_len, 3 + id_len
    starts, ids, octet = [], [], 0
    for number in range(items):
        while b_idx[octet] <= number:
            octet += 1
        block = data[at + number * width : at + (number + 1) * width]
        starts.append(octet << 24 | int.from_bytes(block[:3], "big"))
        ids.append(int.from_bytes(block[3:], "big"))
    return starts, ids


def microseconds(call: Callable[[int], object], given: list[int]) -> float:
    begun = time.process_time()
    for number in given:
        call(number)
    return (time.process_time() - begun) / len(given) * 1e6


def memory() -> tuple[float, float]:
    """Return the resident megabytes of this process now, and the most it ever had."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def differences(reader: SypexReader, path: Path, numbers: Iterable[int]) -> tuple[int, int]:
    """Return how many addresses were asked for, and how many the reader answers otherwise than the rule."""
    starts, ids = by_the_rule(path)
    draw = random.Random(2)
    borders = [start + step for start in draw.sample(starts, min(RANGES, len(starts))) for step in (-1, 0, 1)]
    asked = [*numbers, *borders]
    wrong = 0
    for number in asked:
        at = bisect_right(starts, number) - 1
        wrong += reader.blocks.find(number) != (ids[at] if at >= 0 else 0)
    return len(asked), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=FETCHED)
    path = parser.parse_args().file
    before, _ = memory()
    reader = open_sypex(path).value
    print(f"{path.name}: {len(reader.blocks)} ranges, {reader.blocks.repaired} octets repaired")
    now, most = memory()
    print(f"memory: {now:.0f} MB, {now - before:.0f} of them the database; {most:.0f} MB while it was read")
    draw = random.Random(1)
    numbers = [draw.randrange(1 << 24, 224 << 24) for _ in range(ADDRESSES)]
    keys = [key for key in map(reader.blocks.find, numbers) if key]
    best = min(microseconds(reader.blocks.find, numbers) for _ in range(3))
    print(f"position: {best:.2f} µs; record, read anew: {microseconds(reader.record, keys):.2f} µs")
    asked, wrong = differences(reader, path, numbers)
    print(f"agrees with the rule on {asked - wrong} of {asked} addresses")


if __name__ == "__main__":
    main()
