"""Failing on command: a queue of orders, each for so many requests."""

import asyncio
from collections import deque
from typing import Any

import msgspec
from aiohttp import web


class FaultError(ValueError):
    """An order that cannot be understood; the text says what can be ordered."""


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """One order: exactly one of the fields before `times`, for so many requests.

    `status`: answer it, keep nothing. `hang`: say nothing for so many seconds, then cut. `cut`: cut the connection.
    `cut_after_store`, `half_body`, `status_after_store`: keep the records, and cut, send half an answer, or answer this
    status. `refuse`: find fault with the first so many records, keep the others, answer 400 as for any bad record.
    """

    status: int = 0
    hang: float = 0
    cut: bool = False
    cut_after_store: bool = False
    half_body: bool = False
    status_after_store: int = 0
    refuse: int = 0
    times: int = 1

    @property
    def stores(self) -> bool:
        """Whether the records are counted although the client does not learn of it."""
        return self.cut_after_store or self.half_body or bool(self.status_after_store)


_WORDS = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
_ERRORS = {
    401: "Invalid credentials",
    413: "request exceeds max limit of 2097152 bytes",
    429: "Project exceeded rate limits. Please retry the request with exponential backoff.",
}


class Faults:
    """The orders that are open."""

    def __init__(self) -> None:
        self._orders: deque[Fault] = deque()

    def order(self, wanted: Any) -> Fault:
        """Queue an order, `{"status": 429, "times": 3}`.

        Raises:
            FaultError: there is no such order.
        """
        try:
            fault = msgspec.convert(wanted, Fault, strict=False)
        except msgspec.ValidationError as error:
            raise FaultError(f"{error}; faults are {', '.join(Fault.__struct_fields__)}") from None
        chosen = [name for name in Fault.__struct_fields__ if name != "times" and getattr(fault, name)]
        if len(chosen) != 1 or fault.times < 1:
            raise FaultError('set one fault, at least once, for example {"status": 429, "times": 3}')
        if fault.status and not 200 <= fault.status <= 599:
            raise FaultError("give a status from 200 to 599")
        self._orders.append(fault)
        return fault

    def clear(self) -> None:
        """Forget all orders."""
        self._orders.clear()

    def next(self) -> Fault | None:
        """The fault for this request, if one is ordered."""
        if not self._orders:
            return None
        fault = self._orders[0]
        fault.times -= 1
        if fault.times <= 0:
            self._orders.popleft()
        return fault

    def open(self) -> list[dict[str, Any]]:
        """The orders that are open."""
        return [msgspec.to_builtins(fault) for fault in self._orders]


def error_body(status: int, error: str = "") -> dict[str, Any]:
    """Mixpanel's answer for a status without details."""
    return {"code": status, "error": error or _ERRORS.get(status, "ordered"), "status": _WORDS.get(status, "Error")}


async def perform(fault: Fault, request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
    """Do what was ordered; `answer` is what a healthy Mixpanel would have said."""
    if fault.hang:
        await asyncio.sleep(fault.hang)
    status = fault.status or fault.status_after_store
    if status:
        return web.json_response(error_body(status), status=status)
    if fault.half_body:
        whole = msgspec.json.encode(answer)
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(whole))})
        await response.prepare(request)
        await response.write(whole[: len(whole) // 2])
        _cut(request)
        return response
    _cut(request)
    return web.Response(status=500)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
