"""The ids of ranges, packed."""

from __future__ import annotations

import random
from array import array

import pytest

from sxgeo.ids import Ids


@pytest.mark.parametrize("distinct", [1, 200, 65_536, 65_537, 70_375, 131_072, 131_073])
@pytest.mark.parametrize("extra", [0, 1, 40_001])
def test_every_id_comes_back(distinct: int, extra: int) -> None:
    """However many ids there are, fewer or more than 16 or 17 bits can number, and however many ranges."""
    draw = random.Random(distinct + extra)  # noqa: S311
    known = draw.sample(range(1 << 24), distinct)
    ids = known + draw.choices(known, k=extra)
    draw.shuffle(ids)
    packed = Ids(array("H", [number & 0xFFFF for number in ids]), bytearray(number >> 16 for number in ids))
    assert [packed[at] for at in range(len(ids))] == ids
    assert packed.distinct() == set(known)


def test_no_ranges_have_no_ids() -> None:
    """Nothing is nothing."""
    assert Ids(array("H"), bytearray()).distinct() == set()
