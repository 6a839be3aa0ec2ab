"""What aiohttp has to say about broken requests: counted, not written down.

Its own records hold the client's address and a stack for whatever a client garbles; a scanner would fill the disk.
"""

from __future__ import annotations

import logging

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from band.logs import logger
from front.counters import Counters

_CLIENTS_FAULT = (HttpProcessingError, RequestPayloadError, ConnectionError, TimeoutError, UnicodeError)


class _Counting(logging.Handler):
    def __init__(self, counters: Counters) -> None:
        super().__init__(logging.WARNING)
        self._counters = counters

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record; only what is not the client's fault is logged, without its address."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None or isinstance(error, _CLIENTS_FAULT):
            self._counters.add("protocol_errors")
            return
        self._counters.add("failed")
        logger.error("http_failed", exc_info=error)


def http_logger(counters: Counters) -> logging.Logger:
    """A logger for aiohttp's server that counts."""
    own = logging.getLogger("front.http")
    own.setLevel(logging.WARNING)
    own.propagate = False
    own.handlers[:] = [_Counting(counters)]
    return own
