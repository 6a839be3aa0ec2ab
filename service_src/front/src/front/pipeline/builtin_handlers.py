"""The handlers that front has itself: track, pixel, redir, hello."""

from __future__ import annotations

from typing import Any

from front.event.message import CHANNEL_PIXEL, CHANNEL_WS, Message
from front.pipeline import replies
from front.pipeline.redirects import Redirects
from front.pipeline.replies import Reply

_GREETINGS = {"ping": "pong", "hello": "hi"}


class BuiltInHandlers:
    """Handles events that no other service handles."""

    def __init__(self, redirects: Redirects) -> None:
        self._redirects = redirects

    def answer(self, handler: str, message: Message, own_hosts: tuple[str, ...]) -> Reply:
        """Return the reply of a built-in handler, by its name."""
        if handler == "track":
            return _track(message)
        if handler == "pixel":
            return replies.pixel()
        if handler == "redir":
            return self._redirect(message["data"], own_hosts)
        return _hello(message["name"])

    def _redirect(self, data: dict[str, Any], own_hosts: tuple[str, ...]) -> Reply:
        target = data.get("to")
        refusal = self._redirects.refusal(target, own_hosts, data.get("sig"))
        return replies.error(refusal, 400) if refusal else replies.redirect(str(target))


def default_answer(known: str, message: Message) -> Reply:
    """Return the response to an event without a handler: the known part of its key, and its id."""
    return replies.data({"key": known, "id": message["id"]})


def _track(message: Message) -> Reply:
    channel, name = message["channel"], message["name"]
    if channel == CHANNEL_WS and name in _GREETINGS:
        return _hello(name)
    return replies.pixel() if channel == CHANNEL_PIXEL else replies.data({"id": message["id"]})


def _hello(name: Any) -> Reply:
    greeting = _GREETINGS.get(name) if isinstance(name, str) else None
    return replies.data({"message": greeting}) if greeting else replies.error("Not Found", 404)
