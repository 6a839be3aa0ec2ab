"""The handlers that front has itself: track, pixel, redir, hello."""

from __future__ import annotations

from typing import Any

from front import answers
from front.answers import Answer
from front.message import CHANNEL_PIXEL, CHANNEL_WS, Message
from front.redirects import Redirects

_GREETINGS = {"ping": "pong", "hello": "hi"}


class BuiltIn:
    """Answers events that no other service answers."""

    def __init__(self, redirects: Redirects) -> None:
        self._redirects = redirects

    def answer(self, handler: str, message: Message, own_hosts: tuple[str, ...]) -> Answer:
        """The answer of a built-in handler, by its name."""
        if handler == "track":
            return _track(message)
        if handler == "pixel":
            return answers.pixel()
        if handler == "redir":
            return self._redirect(message["data"], own_hosts)
        return _hello(message["name"])

    def _redirect(self, data: dict[str, Any], own_hosts: tuple[str, ...]) -> Answer:
        target = data.get("to")
        refusal = self._redirects.refusal(target, own_hosts, data.get("sig"))
        return answers.error(refusal, 400) if refusal else answers.redirect(str(target))


def default_answer(known: str, message: Message) -> Answer:
    """The answer when nobody handles an event: how far its key is known, and its id."""
    return answers.data({"key": known, "id": message["id"]})


def _track(message: Message) -> Answer:
    channel, name = message["channel"], message["name"]
    if channel == CHANNEL_WS and name in _GREETINGS:
        return _hello(name)
    return answers.pixel() if channel == CHANNEL_PIXEL else answers.data({"id": message["id"]})


def _hello(name: Any) -> Answer:
    greeting = _GREETINGS.get(name) if isinstance(name, str) else None
    return answers.data({"message": greeting}) if greeting else answers.error("Not Found", 404)
