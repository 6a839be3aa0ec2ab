"""Asks services for their `__status` and receives every response, also if two containers of a service respond.

It has its own reply channel, because a JSON-RPC client stops listening after the first response, and the old container
responds beside a new one.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from band import DecodingError, logger
from band.platform import RedisLink, decode
from director.discovery.registrations import MAX_REASON, Status, bounded
from director.engine.interface import Container
from director.redact import scrub

QUESTIONS: Mapping[str, Mapping[str, Any]] = {"front": {"register": [], "state_hash": ""}}
"""Parameters of the question for a status. To front, the original too, an empty hash means that nothing is pushed."""
CONTAINER_ENV = "BAND_CONTAINER"
"""The environment variable with the director's name for a container; its status repeats it as `container`."""


class Prober:
    """Sends `__status` requests from channel `reply_to` and passes each response to the caller.

    What a service says of its health has no value of `hide` in it: long texts are cut afterwards, so that no part of
    a secret is left.
    """

    def __init__(
        self, link: RedisLink, reply_to: str | None = None, hide: Callable[[str], Collection[str]] = lambda _: ()
    ) -> None:
        self._hide = hide
        self.reply_to = reply_to or f"director-probe-{secrets.token_hex(6)}"
        self._link = link
        self._ids = itertools.count(1)
        self._waiting: dict[str, Callable[[Mapping[str, Any], int], None]] = {}

    async def ask(
        self,
        service: str,
        *,
        timeout: float,
        interval: float | None = None,
        accept: Callable[[Status], bool] = lambda _: True,
        params: Mapping[str, Any] | None = None,
        null_is_answer: bool = False,
        on_error: Callable[[str], None] | None = None,
        hide: Collection[str] = (),
    ) -> Status | None:
        """Return the first status that `accept` accepts, or None after `timeout` seconds.

        Args:
            service: the service to ask.
            timeout: the longest wait in seconds.
            interval: seconds between requests; None asks once, and gives up at once if nobody listens.
            accept: returns whether a status is the awaited one.
            params: parameters of the request (front gets the registrations this way), else those of `QUESTIONS`.
            null_is_answer: treat `null` as an empty status (front responds so if it has these registrations already).
            on_error: receives the text of an error response, which ends the wait; without it, errors are ignored.
            hide: secrets to mask beside the known ones: of a container that is only starting.
        """
        found: asyncio.Future[Status | None] = asyncio.get_running_loop().create_future()

        def on_answer(message: Mapping[str, Any], size: int) -> None:
            hidden = (*hide, *self._hide(service))
            if (error := message.get("error")) is not None:
                if on_error is not None and not found.done():
                    on_error(_said(error, hidden))
                    found.set_result(None)
                return
            status = unwrap(message["result"])
            if status is not None:
                status = bounded(status, size, hidden)
            elif null_is_answer:
                status = {}
            if not found.done() and status is not None and accept(status):
                found.set_result(status)

        def nobody(receivers: Any) -> None:
            if receivers == 0 and not found.done():
                found.set_result(None)

        asked = QUESTIONS.get(service, {}) if params is None else params
        ids: list[str] = []
        try:
            async with asyncio.timeout(timeout):
                while not found.done():
                    ids.append(self._send(service, asked, on_answer, nobody if interval is None else None))
                    await asyncio.wait([found], timeout=interval)
                return found.result()
        except TimeoutError:
            return None
        finally:
            for request in ids:
                self._waiting.pop(request, None)

    def on_message(self, _channel: str, payload: bytes) -> None:
        """Handle a message on the reply channel; anything that is not a response to one of our requests is dropped."""
        try:
            message = decode(payload)
        except DecodingError as error:
            logger.debug("probe_answer_unreadable", reason=str(error))
            return
        waiting = self._waiting.get(_id_of(message))
        if waiting is None:
            return
        if message.get("error") is not None or "result" in message:
            waiting(message, len(payload))

    def _send(
        self,
        service: str,
        params: Mapping[str, Any],
        on_answer: Callable[[Mapping[str, Any], int], None],
        on_sent: Callable[[Any], None] | None,
    ) -> str:
        request = str(next(self._ids))
        self._waiting[request] = on_answer
        method = f"{service}:__status:{self.reply_to}"
        message = {"jsonrpc": "2.0", "method": method, "params": params, "id": request}
        self._link.publish(service, msgspec.json.encode(message), on_sent)
        return request


def _id_of(message: Any) -> str:
    found = message.get("id") if isinstance(message, dict) else None
    return str(found) if isinstance(found, str) or (isinstance(found, int) and 0 < found < 2**53) else ""


def _said(error: Any, hide: Collection[str]) -> str:
    """Return what an error reply of JSON-RPC says, in a line."""
    text = error.get("message") if isinstance(error, dict) else error
    line = " ".join(scrub(text.strip(), hide)[:MAX_REASON].split()) if isinstance(text, str) else ""
    return line or "an error without a reason"


def unwrap(result: Any) -> Status | None:
    """Return the status in a result: typed (Python services) or plain (front, where null means `unchanged`)."""
    if isinstance(result, dict) and result.get("type__") == "data":
        result = result.get("data")
    return result if isinstance(result, dict) else None


def is_from(status: Status, container: Container, since: float = 0.0) -> bool:
    """Whether a status comes from this very container, and from a process of it that began after `since`.

    A status without `container` (of services on the original framework) is believed by its time: the clock is the
    host's for both, and an older container of the service has started before this one was made.
    """
    began, told, called = status.get("app_started"), status.get("container"), container.env.get(CONTAINER_ENV)
    if told and called and told != called:
        return False
    return isinstance(began, int | float) and began >= int(max(container.created_at, since) * 1000)
