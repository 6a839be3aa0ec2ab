"""What Mixpanel's libraries send to `/track`, `/engage` and `/groups`, and the response that they expect."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web


class Call:
    """A request of a library: `records` are its events or changes; ValueError when it has none."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        given: Mapping[str, str] = request.query
        if "json" in request.content_type:
            decoded = msgspec.json.decode(body)
        else:
            given = {**given, **dict(parse_qsl(body.decode()))}
            decoded = _decoded(given.get("data", ""))
        self.records: list[Any] = decoded if isinstance(decoded, list) else [decoded]
        self.verbose = given.get("verbose") == "1"

    def answer(self, error: str = "") -> web.Response:
        """The response: 1 for success, or in JSON when it asked for more."""
        if self.verbose:
            return web.json_response({"status": int(not error), "error": error or None})
        return web.Response(text="0" if error else "1")


def _decoded(data: str) -> Any:
    if not data.startswith(("{", "[")):
        try:
            data = base64.b64decode(data.replace(" ", "+"), validate=True).decode()
        except binascii.Error as error:
            raise ValueError(f"`data` is neither JSON nor base64: {error}") from None
    return msgspec.json.decode(data)
