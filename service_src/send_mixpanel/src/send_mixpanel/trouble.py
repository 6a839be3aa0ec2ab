"""Trouble in the log: one line when it begins, one when it is over, however often a request fails in between."""

import time
from typing import Any, Protocol

from send_mixpanel.options import Project
from send_mixpanel.verdict import Meaning, Verdict

# Under a rate limit, trouble may come and go every few seconds for hours: that is one line a minute, not two a second.
_QUIET_S = 60.0


class Log(Protocol):
    """What is needed of a logger."""

    def warning(self, event: str, **facts: Any) -> Any:
        """Write a line that somebody should read."""

    def info(self, event: str, **facts: Any) -> Any:
        """Write a line."""


class TroubleLog:
    """Tells of the trouble of one project. The reasons are Mixpanel's words or the system's; no secret is in them."""

    def __init__(self, project: Project, log: Log) -> None:
        self._project = project
        self._log = log
        self._told: Meaning | None = None
        self._told_at = -_QUIET_S

    def goes_on(self, verdict: Verdict, next_try_s: float) -> None:
        """Note a failure; the first one of its kind is a warning, unless there was one in the last minute."""
        now = time.monotonic()
        if verdict.meaning is self._told or (self._told is None and now - self._told_at < _QUIET_S):
            return
        self._told, self._told_at = verdict.meaning, now
        self._log.warning(
            "mixpanel_trouble",
            project=self._project.name,
            url=self._project.url,
            what=verdict.meaning.value,
            reason=verdict.reason,
            next_try_s=round(next_try_s, 1),
            hint="events wait in Redis and are sent afterwards; /health shows the current state",
        )

    def over(self, lasted_s: float) -> None:
        """Note that Mixpanel answers again; one line when a warning was written."""
        if self._told is None:
            return
        self._told = None
        self._log.info("mixpanel_trouble_over", project=self._project.name, lasted_s=round(lasted_s, 1))
