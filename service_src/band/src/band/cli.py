"""The command ``band``: for images and for people who write services."""

from __future__ import annotations

import argparse
import http.client
import os
import sys
from collections.abc import Sequence

CHECK_TIMEOUT = 3.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="band", description="Tools for services of Rockstat Band.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="exit 0 when the service in this container is healthy, else 1")
    check.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 8080))
    check.add_argument("--prefix", default=os.environ.get("HTTP_PREFIX", ""))
    options = parser.parse_args(argv)
    return run_check(options.port, options.prefix)


def run_check(port: int, prefix: str) -> int:
    """Ask the service on this host's ``port`` how it is; prints what it says; 0 healthy, 1 not."""
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
