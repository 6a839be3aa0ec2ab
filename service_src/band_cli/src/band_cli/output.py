"""Output: JSON on request, otherwise tables and sentences that fit the terminal.

Rich is imported only when it is needed: imports take most of the time of `band ps`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from band_cli.errors import CliError

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 400
"""Characters in a line without a terminal: programs read whole lines."""
_STYLES = {
    "ok": "green", "starting": "cyan", "external": "cyan", "running": "green", "current": "green", "processed": "green",
    "degraded": "yellow", "warning": "yellow", "waiting": "yellow", "pending": "yellow", "rolled_back": "yellow",
    "failing": "red", "crashing": "red", "crashed": "red bold", "failed": "red", "error": "red",
    "unavailable": "red", "away": "red",
    "dead_letter": "red", "stopped": "dim", "exited": "dim", "older": "dim", "unknown": "dim", "note": "cyan",
}  # fmt: skip
_BIDI = [0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
"""Line separators and characters that change the direction of text: a terminal may show a different text."""
_HARMFUL = [*range(9), *range(11, 32), *range(127, 160), *_BIDI, *range(0xD800, 0xE000)]
_CONTROLS = dict.fromkeys(_HARMFUL, "�")
_ESCAPES = {code: f"\\u{code:04x}" for code in _HARMFUL}


def clean(text: object) -> str:
    """Return foreign text without control characters (C0, C1, direction of text) and halves of characters."""
    return str(text).translate(_CONTROLS)


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON in which the characters that `clean` replaces are escapes."""
    return json.dumps(value, ensure_ascii=False, indent=indent).translate(_ESCAPES)


class Output:
    """Writes to standard output, and errors and progress to standard error."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._console: Console | None = None

    @property
    def on_terminal(self) -> bool:
        """Whether the output is a terminal."""
        return sys.stdout.isatty() and not self.as_json

    @property
    def width(self) -> int:
        """The maximum number of characters in a line."""
        given = os.environ.get("COLUMNS", "")
        if given.isdigit() and int(given):
            return int(given)
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH

    @property
    def console(self) -> Console:
        """The console of standard output; colours only on a terminal, and not with NO_COLOR."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(width=self.width, highlight=False, soft_wrap=False)
        return self._console

    def json(self, value: Any) -> None:
        """Write a value as one line of JSON."""
        sys.stdout.write(as_json(value) + "\n")
        sys.stdout.flush()

    def pretty(self, value: Any) -> None:
        """Write a value as JSON for people: indented and coloured."""
        from rich.highlighter import JSONHighlighter

        self.console.print(JSONHighlighter()(as_json(value, indent=2)), soft_wrap=True)

    def line(self, text: str) -> None:
        """Write a line as it is, however long."""
        sys.stdout.write(clean(text) + "\n")
        sys.stdout.flush()

    def say(self, text: str, style: str = "") -> None:
        """Write a sentence; on a terminal, lines break between words where it ends."""
        self.console.print(clean(text), style=style or None, markup=False, soft_wrap=not self.console.is_terminal)

    def item(self, mark: str, text: str, style: str = "") -> None:
        """Write a sentence after a mark; wrapped lines are indented to its start."""
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_row(Text(mark, style), Text(clean(text), style, overflow="fold"))
        self.console.print(grid)

    def note(self, text: str) -> None:
        """Write a sentence to standard error."""
        sys.stderr.write(clean(text) + "\n")
        sys.stderr.flush()

    def error(self, error: CliError) -> None:
        """Write what went wrong, its last log lines and what to do to standard error."""
        if self.as_json:
            sys.stderr.write(as_json(error.body()) + "\n")
            return
        for line in error.log:
            self.note(f"  {line}")
        self.note(f"band: {error.message}")
        if error.hint:
            self.note(f"      {error.hint}")

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()) -> None:
        """Write rows below their headings; states are coloured, the last column gets the remaining width."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for number, head in enumerate(heads):
            last = number == len(heads) - 1
            table.add_column(
                head.upper(), justify="right" if head in right else "left", no_wrap=not last,
                overflow="fold" if last else "ellipsis",
            )  # fmt: skip
        for row in rows:
            table.add_row(*(Text(clean(cell), style=_STYLES.get(str(cell), "")) for cell in row))
        self.console.print(table)

    def facts(self, rows: Mapping[str, object]) -> None:
        """Write names and values, one pair a line; empty values are left out."""
        shown = {name: value for name, value in rows.items() if value not in (None, "")}
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in shown.items():
            table.add_row(name, Text(clean(value), style=_STYLES.get(str(value), "")))
        self.console.print(table)


@contextlib.contextmanager
def progress(text: str) -> Iterator[Any]:
    """Show a status line on standard error while the block runs; nothing if that is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    with console.status(text) as shown:
        yield lambda line: shown.update(escape(clean(line)[: max(20, console.width - 4)]))


def size(count: float | None) -> str:
    """Return a size as text; a dash for None."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun: `1 event`, `3 events`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """Return a time span in its largest unit: `40 s`, `12 min`, `3 h`, `5 d`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def clock(seconds: float | None) -> str:
    """Return a moment (seconds since 1970) in this machine's time zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "-"
    except (OverflowError, ValueError, OSError):  # no year has that number
        return f"{seconds} s"
