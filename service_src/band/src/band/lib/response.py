"""The original's import path of the response classes."""

from band.responses import BaseBandResponse, DataResponse, ErrorResponse, PixelResponse, RedirectResponse

__all__ = ["BaseBandResponse", "DataResponse", "ErrorResponse", "PixelResponse", "RedirectResponse"]
