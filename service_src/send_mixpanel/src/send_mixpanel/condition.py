"""The health of delivery, in words that say what to do."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from send_mixpanel.options import SECRET_RETIRED
from send_mixpanel.project_sender import ProjectSender
from send_mixpanel.verdict import Meaning, said

ALARM_SHARE = 0.8


def sender_health(sender: ProjectSender) -> dict[str, Any]:
    """`{"status", "hint"?, …}` of the way to one project."""
    if not sender.usable:
        return {
            "status": "failing",
            "reason": "there are no Mixpanel credentials; events wait",
            "hint": sender.project.hint,
        }
    state = sender.state
    reason = said(state.trouble_status, state.trouble_text)
    if state.trouble is Meaning.CREDENTIALS:
        return {
            "status": "failing",
            "reason": f"Mixpanel refuses the credentials ({reason}); events wait",
            "hint": _retirement(sender).get("warning")
            or f"check the {sender.project.kind} and the region ({sender.project.url}), then run the service again",
            "next_try_s": _left(state.next_try),
        }
    if state.trouble is Meaning.REQUEST:
        return {
            "status": "failing",
            "reason": f"Mixpanel refuses every request as a whole ({reason}); events wait",
            "hint": f"check MIXPANEL_PROJECT_ID, the region ({sender.project.url}), and for a proxy in between",
            "next_try_s": _left(state.next_try),
        }
    if state.trouble is Meaning.ADDRESS:
        return {
            "status": "failing",
            "reason": f"{sender.project.url} is not the Mixpanel API ({reason})",
            "hint": "check MIXPANEL_URL, and whether there is a proxy in between; events wait",
            "next_try_s": _left(state.next_try),
        }
    if state.trouble is not None:
        return {
            "status": "degraded",
            "reason": f"Mixpanel is unavailable ({reason}); events wait in the stream",
            "since": datetime.fromtimestamp(state.trouble_since, UTC).isoformat(timespec="seconds"),
            "next_try_s": _left(state.next_try),
        }
    return {"status": "ok", **_retirement(sender)}


def dead_letter_facts(facts: Mapping[str, Any], count: int, most: int) -> dict[str, Any]:
    """How many dead letters there are; an alarm before the oldest would be dropped for new ones."""
    found: dict[str, Any] = {"dead_letters": count}
    if count >= ALARM_SHARE * most:
        words = f"there are {count} dead letters; beyond {most} (DEAD_LETTERS_MAX) the oldest are dropped"
        if facts.get("status") == "ok":
            return {
                **found,
                "status": "degraded",
                "reason": words,
                "hint": "check their reasons, then replay or delete them",
            }
        found["warning"] = words
    return found


def _retirement(sender: ProjectSender) -> dict[str, str]:
    if not sender.project.retiring:
        return {}
    ended = datetime.now(UTC).date() >= SECRET_RETIRED
    words = "has not worked since" if ended else "works until"
    return {"warning": f"MIXPANEL_API_SECRET {words} {SECRET_RETIRED:%-d %B %Y}; set MIXPANEL_TOKEN instead"}


def _left(moment: float) -> int:
    return max(0, round(moment - time.time()))
