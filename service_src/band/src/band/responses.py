"""Typed responses: what a handler returns when plain JSON is not enough, and how they look on the wire.

On the wire (section 5 of the protocol) a response is an object with ``type__``: ``data`` (with ``statusCode``),
``error`` (with ``errorMessage``), ``redirect`` (with ``location``) or ``pixel``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPE_KEY = "type__"

PIXEL_GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
"""A transparent 1×1 GIF, 43 bytes: the smallest valid answer to an ``<img>`` that only reports an event."""


class BaseBandResponse(dict[str, Any]):
    """A response with a type. As a mapping it holds its data (empty when the data is no mapping).

    Args:
        data: any JSON value.
        status_code: the HTTP status. Default: that of the type.
    """

    type__ = "data"

    def __init__(self, data: Any = None, *, status_code: int | None = None) -> None:
        super().__init__(data if isinstance(data, Mapping) else {})
        self.value: Any = {} if data is None else data
        self.status_code = status_code

    @property
    def data(self) -> Any:
        """The data as it was given: any JSON value."""
        return dict(self) if isinstance(self.value, Mapping) else self.value

    def __getattr__(self, name: str) -> Any:
        """Return a value of the data by its name, None when there is none: as the original's responses did."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self.get(name)

    def is_error(self) -> bool:
        """Return whether this is an error response."""
        return isinstance(self, ErrorResponse)

    @property
    def error_message(self) -> str:
        """The text of an error response, else an empty string."""
        return self.message if isinstance(self, ErrorResponse) else ""

    def to_wire(self) -> dict[str, Any]:
        """Return the response as the JSON object that peers exchange."""
        return {TYPE_KEY: self.type__, "statusCode": self.status_code or 200, "data": self.data}


class DataResponse(BaseBandResponse):
    """A JSON value with a status code."""


class ErrorResponse(BaseBandResponse):
    """An error that the caller is meant to see."""

    type__ = "error"

    def __init__(self, message: str = "", *, status_code: int | None = None, data: Any = None) -> None:
        super().__init__(data, status_code=status_code)
        self.message = str(message)

    def to_wire(self) -> dict[str, Any]:
        """Return the response as the JSON object that peers exchange."""
        wire: dict[str, Any] = {TYPE_KEY: self.type__, "statusCode": self.status_code, "errorMessage": self.message}
        if self.status_code is None:
            del wire["statusCode"]
        return {**wire, "data": self.data}


class RedirectResponse(BaseBandResponse):
    """Send the browser elsewhere."""

    type__ = "redirect"

    def __init__(self, location: str, *, status_code: int = 302, data: Any = None) -> None:
        super().__init__(data, status_code=status_code)
        self.location = str(location)

    def to_wire(self) -> dict[str, Any]:
        """Return the response as the JSON object that peers exchange."""
        return {TYPE_KEY: self.type__, "location": self.location, "statusCode": self.status_code, "data": self.data}


class PixelResponse(BaseBandResponse):
    """A transparent 1×1 GIF."""

    type__ = "pixel"

    def to_wire(self) -> dict[str, Any]:
        """Return the response as the JSON object that peers exchange."""
        return {TYPE_KEY: self.type__, "data": self.data}


class ResponseFactory:
    """The ``response`` that services import: one method per type."""

    def data(self, data: Any = None, statusCode: int = 200) -> BaseBandResponse:  # noqa: N803 - the original's name
        """Return ``data`` (any JSON value) with an HTTP status code."""
        return DataResponse(data, status_code=int(statusCode))

    def error(self, errorMessage: str = "", statusCode: int = 500, data: Any = None) -> BaseBandResponse:  # noqa: N803
        """Return an error with a message for the caller and an HTTP status code."""
        return ErrorResponse(errorMessage, status_code=int(statusCode), data=data)

    def redirect(self, location: str, statusCode: int = 302, data: Any = None) -> BaseBandResponse:  # noqa: N803
        """Return a redirect to ``location``."""
        return RedirectResponse(location, status_code=int(statusCode), data=data)

    def pixel(self, data: Any = None) -> BaseBandResponse:
        """Return a transparent 1×1 GIF."""
        return PixelResponse(data)

    def __call__(self, data: Any = None, **kwargs: Any) -> BaseBandResponse:
        """Do the same as ``data``: in the original, up to version 0.14, ``response`` itself was called."""
        return self.data(data, **kwargs)


response = ResponseFactory()


def read_response(result: Any) -> BaseBandResponse | None:
    """Return the response that a JSON value stands for, None for any other value."""
    if not isinstance(result, dict) or TYPE_KEY not in result:
        return None
    kind, data, status = result[TYPE_KEY], result.get("data"), result.get("statusCode")
    if kind == "data":
        return DataResponse(data, status_code=status)
    if kind == "error":
        return ErrorResponse(result.get("errorMessage") or "", status_code=status, data=data)
    if kind == "redirect":
        return RedirectResponse(result.get("location") or "", status_code=status or 302, data=data)
    return PixelResponse(data) if kind == "pixel" else BaseBandResponse(data, status_code=status)


def from_wire(result: Any) -> Any:
    """Return what a caller gets: typed data unwrapped, other types as response objects, any other result as it is."""
    response = read_response(result)
    if response is None or type(response) is BaseBandResponse:  # a type that nobody knows
        return result
    return result.get("data") if isinstance(response, DataResponse) else response
