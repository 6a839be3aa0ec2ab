"""One line of what services print, of a build, or of what the director saw: as `/ws` sends it."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime
from typing import Literal

import msgspec

Source = Literal["stdout", "stderr", "build", "director"]

LONGEST = 8192
"""Characters of one line; what is longer is cut, and says so."""
# C0 and DEL have symbols of their own in Unicode; C1, which begins escape sequences too, has none.
_SYMBOLS = {
    **{code: 0x2400 + code for code in range(0x20) if code != ord("\t")}, 0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}  # fmt: skip
_numbers = itertools.count(time.time_ns() // 1_000_000 << 20)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line in the original's form: `cname` is the service, `cid` its container (empty when there is none).

    `ts` is milliseconds since 1970, `time` the same for people (UTC), `id` grows with every line.
    """

    id: str
    cid: str
    cname: str
    time: str
    ts: int
    source: Source
    data: str


def make_line(source: Source, name: str, text: str, *, container: str = "", at: float | None = None) -> Line:
    """Return a line of `source` about service `name`; `at` is seconds since 1970, now when it is not given."""
    moment = time.time() if at is None else at
    return Line(
        id=str(next(_numbers)),
        cid=container[:12],
        cname=name,
        time=datetime.fromtimestamp(moment, UTC).strftime("%m%d %H:%M:%S.%f")[:-3],
        ts=int(moment * 1000),
        source=source,
        data=cut(text),
    )


def printable(text: str) -> str:
    """Return a line in which control characters show as symbols (`␛`), so that no terminal obeys them; tabs stay."""
    return text.translate(_SYMBOLS)


def cut(text: str) -> str:
    """Return a line as long as people read, which says what was left out."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST} more characters)"
