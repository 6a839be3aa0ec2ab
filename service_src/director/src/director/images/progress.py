"""How far the builds in progress are, for those who look at a page while they run."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from director.engine.log_feed import Feed

LAST_LINES = 8
_STEP = re.compile(r"^#\d+ \[(?:[\w.-]+ +)?(?P<done>\d+)/(?P<all>\d+)\] (?P<what>.*)$")
_PLAIN = re.compile(r"^#\d+ (?:\d+\.\d+ )?")


class Building(msgspec.Struct):
    """A build in progress: the step it is at (0 of 0 before the first), and the last lines it printed."""

    began: float
    step: int = 0
    steps: int = 0
    what: str = ""
    lines: deque[str] = msgspec.field(default_factory=lambda: deque(maxlen=LAST_LINES))

    def feed(self, line: str) -> None:
        """Take one line of BuildKit's plain progress."""
        found = _STEP.match(line)
        if found is not None:
            self.step, self.steps, self.what = int(found["done"]), int(found["all"]), found["what"]
        self.lines.append(_PLAIN.sub("", line))


class Progress:
    """The builds in progress by service; their lines also go to the feed, as source `build`."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._now: dict[str, Building] = {}

    def of(self, name: str) -> Building | None:
        """Return the build of a service, None when there is none."""
        return self._now.get(name)

    @contextmanager
    def building(self, name: str, image: str) -> Iterator[None]:
        """Be a build of a service within the block."""
        self._now[name] = Building(began=time.time())
        self._feed.note("build", name, f"building {image}")
        try:
            yield
        except BaseException:
            self._feed.note("build", name, f"building {image} failed")
            raise
        else:
            seconds = time.time() - self._now[name].began
            self._feed.note("build", name, f"built {image} in {seconds:.1f} s")
        finally:
            self._now.pop(name, None)

    def line(self, name: str, text: str) -> None:
        """Take a line that the build of a service printed."""
        now = self._now.get(name)
        if now is not None:
            now.feed(text)
        self._feed.note("build", name, text)
