"""``band check``: the health check of images."""

from __future__ import annotations

import http.client
import sys
from typing import Final

CHECK_TIMEOUT: Final = 3.0


def run_check(port: int, prefix: str) -> int:
    """Request and print the health of the service on this host's ``port``; 0 if healthy, else 1."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CHECK_TIMEOUT)
    try:
        connection.request("GET", f"{prefix}/health")
        answer = connection.getresponse()
        text = answer.read(4096).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"no answer on port {port}: {error}\n")
        return 1
    finally:
        connection.close()
    sys.stdout.write(text + "\n")
    return 0 if answer.status == 200 else 1
