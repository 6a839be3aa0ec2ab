"""The envelope: JSON-RPC 2.0 plus sender and recipient (wire protocol, section 2)."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from band import json_codec

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
"""Error code: the service has no such method."""
INVALID_PARAMS: Final = -32602
"""Error code: the parameters do not fit the method; the message says which."""
SERVER_ERROR: Final = -32000
OVERLOADED: Final = -32005

BATCH: Final = "__batch"
"""Our method that calls another one for each of many ``items``; only sent to instances that announced themselves."""
_REPLY_HEAD: Final = b'{"jsonrpc":"2.0","result":'

MESSAGES: Final = {
    PARSE_ERROR: "Parse error",
    INVALID_REQUEST: "Invalid Request",
    METHOD_NOT_FOUND: "Method not found",
    INVALID_PARAMS: "Invalid params",
    SERVER_ERROR: "Server error",
    OVERLOADED: "Too many requests at once",
}


class Envelope(msgspec.Struct):
    """One received message. ``id`` is UNSET for a notification; ``result`` and ``error`` mark a reply.

    ``result`` stays JSON: some callers only pass it on. ``service_group`` is the group that a reply names.
    """

    jsonrpc: Any = None
    method: Any = msgspec.UNSET
    params: Any = msgspec.UNSET
    id: Any = msgspec.UNSET
    sender: Any = msgspec.field(default=None, name="from")
    to: Any = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: Any = msgspec.UNSET
    service_group: Any = None

    @property
    def is_reply(self) -> bool:
        """Whether it is a response."""
        return self.method is msgspec.UNSET and (self.result is not msgspec.UNSET or self.error is not msgspec.UNSET)

    def address(self) -> tuple[str, str, str]:
        """Return (to, method, from); ``TO:METHOD:FROM`` wins over the fields, as in the original.

        Raises:
            ValueError: the method is not a string.
        """
        method = self.method
        if not isinstance(method, str):
            raise ValueError("the method is not a string")  # noqa: TRY004 - the caller handles ValueError
        parts = method.split(":")
        if len(parts) == 3:
            return parts[0], parts[1], parts[2]
        return str(self.to or ""), method, str(self.sender or "")


_one = msgspec.json.Decoder(Envelope)
_many = msgspec.json.Decoder(list[Envelope])
_parts = msgspec.json.Decoder(list[msgspec.Raw])


def decode(data: bytes) -> list[Envelope]:
    """Return the messages in ``data``: one, or those of a JSON-RPC batch.

    Raises:
        ValueError: it is not JSON, or neither an object nor a list of objects.
        RecursionError: it is nested too deeply.
    """
    try:
        return _many.decode(data) if data[:1] == b"[" else [_one.decode(data)]
    except msgspec.DecodeError:
        return _decode_loosely(data)


def decode_all(data: bytes) -> Sequence[Envelope | Exception]:
    """Return the messages in ``data``; of a partly invalid batch, each message or its error."""
    try:
        return decode(data)
    except (ValueError, RecursionError) as error:
        try:
            return [_decode_part(part) for part in _parts.decode(data)]
        except (ValueError, RecursionError):
            return [error]


def _decode_part(part: msgspec.Raw) -> Envelope | Exception:
    try:
        return decode(bytes(part))[0]
    except (ValueError, RecursionError) as error:
        return error


def _decode_loosely(data: bytes) -> list[Envelope]:
    """Read what only the standard library accepts: NaN, lone surrogates."""
    value = json_codec.decode_loosely(data)
    items = value if isinstance(value, list) else [value]
    for item in items:
        if isinstance(item, dict) and "result" in item:
            item["result"] = msgspec.Raw(json.dumps(item["result"]).encode())  # keeps NaN
    try:
        return [msgspec.convert(item, Envelope) for item in items]
    except msgspec.ValidationError as error:
        raise ValueError(f"not a JSON-RPC message: {error}") from None


@functools.lru_cache(maxsize=1024)
def _request_parts(to: str, method: str, sender: str) -> tuple[bytes, bytes]:
    """Return the JSON before the params of a request, and between params and id: the same for every call."""
    head = {"jsonrpc": "2.0", "method": f"{to}:{method}:{sender}"}
    tail = {"from": sender, "to": to}
    return json_codec.encode(head)[:-1] + b',"params":', b"," + json_codec.encode(tail)[1:-1] + b',"id":"'


def request(to: str, method: str, sender: str, params: Any, request_id: str) -> bytes:
    """Return a request; ``request_id`` must need no escaping in JSON.

    Raises:
        TypeError: the params have no JSON form.
    """
    return request_raw(to, method, sender, json_codec.encode(params), request_id)


def request_raw(to: str, method: str, sender: str, params: bytes, request_id: str) -> bytes:
    """Return a request with encoded params."""
    head, middle = _request_parts(to, method, sender)
    return b"".join((head, params, middle, request_id.encode(), b'"}'))


def notification(to: str, method: str, sender: str, params: Any) -> bytes:
    """Return a notification: a request without a response."""
    body = {"jsonrpc": "2.0", "method": f"{to}:{method}:{sender}", "params": params, "from": sender, "to": to}
    return json_codec.encode(body)


@functools.lru_cache(maxsize=1024)
def _reply_tail(sender: str, to: str, group: str) -> bytes:
    return b"," + json_codec.encode({"from": sender, "to": to, **_grouped(group)})[1:]


def _grouped(group: str) -> dict[str, str]:
    return {"service_group": group} if group else {}


def success(result: Any, request_id: Any, sender: str, to: str, group: str = "") -> bytes:
    """Return the response to a request; ``group`` is the sender's service group, if it has one.

    Raises:
        TypeError: the result has no JSON form.
    """
    tail = _reply_tail(sender, to, group)
    return b"".join((_REPLY_HEAD, json_codec.encode(result), b',"id":', json_codec.encode(request_id), tail))


def failure(
    code: int, detail: str | None, request_id: Any, sender: str, to: str, path: str = "", group: str = ""
) -> bytes:
    """Return the error response to a request.

    Args:
        code: the JSON-RPC error code.
        detail: text for the caller, never a traceback or a secret.
        request_id: the id of the request.
        sender: the responding service.
        to: the service that sent the request.
        path: the refused parameter (``$.limit``).
        group: the sender's service group, if it has one.
    """
    error = error_object(code, detail, path)
    reply = {"jsonrpc": "2.0", "error": error, "id": request_id, "from": sender, "to": to, **_grouped(group)}
    return json_codec.encode(reply)


def error_object(code: int, detail: str | None, path: str = "") -> dict[str, Any]:
    """Return the ``error`` of a response: ``{"code", "message", "data": {"message", "path"}}``."""
    data = {"message": detail, "path": path} if path else {"message": detail}
    return {"code": code, "message": MESSAGES[code], **({"data": data} if detail else {})}
