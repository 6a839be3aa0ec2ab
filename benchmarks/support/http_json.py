"""Ask a service over HTTP, and wait for what it comes to; for benchmarks, chaos tests and integration tests."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any


def ask(url: str, body: Any = None, timeout: float = 300, headers: dict[str, str] | None = None) -> Any:
    """Send a GET, or a POST of JSON, and return the JSON answer; an error status is an AssertionError."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.code} {error.read().decode()[:3000]}") from None


def until(found: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """Return the first true value of `found`; fail when there is none in time."""
    deadline = time.monotonic() + seconds
    error: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if value := found():
                return value
        except (AssertionError, OSError) as failed:
            error = failed
        time.sleep(0.1)
    raise AssertionError(f"{what or found}: not within {seconds:g} s; last error: {error}")
