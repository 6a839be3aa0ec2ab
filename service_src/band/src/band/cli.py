"""``python -m band`` and ``band dev``: parses arguments and calls ``band.commands``."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from band.commands.check import run_check

__all__ = ["main", "run_check"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(argv)
    if options.command == "check":
        return run_check(options.port, options.prefix)
    if options.command == "requirements":
        from band.commands.adapt import run_requirements

        return run_requirements(options.file, write=options.write)
    if options.command == "new":
        from band.commands.develop import run_new

        return run_new(options.name, options.folder, ts=options.ts)
    if options.command == "run":
        from band.commands.develop import run_service

        return run_service(options.folder.resolve(), reload=not options.no_reload)
    from band.commands.ask import run_call, run_tail
    from band.config import read_environ

    env = read_environ(Path.cwd())
    if options.command == "call":
        return run_call(options.service, options.method, options.params, options.timeout, env)
    return run_tail(options.key, options.count, env)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="band dev", description="Tools for service authors.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="exit 0 if the service in this container is healthy, otherwise 1")
    check.add_argument("--port", type=int, default=int(os.environ.get("PORT") or 8080))
    check.add_argument("--prefix", default=os.environ.get("HTTP_PREFIX", ""), help="URL prefix of /health")
    new = commands.add_parser("new", help="create a working service with tests")
    new.add_argument("name")
    new.add_argument(
        "--ts", action="store_true", help="in TypeScript, with the package in vendor/ (needs Node.js 20 and npm)"
    )
    new.add_argument(
        "--in", dest="folder", type=Path, default=Path(), help="where to create it (default: the current folder)"
    )
    run = commands.add_parser("run", help="run a service on this host, with its .env; restarts when a file changes")
    run.add_argument("folder", nargs="?", type=Path, default=Path())
    run.add_argument("--no-reload", action="store_true")
    call = commands.add_parser("call", help="call a method of a running service (Redis from REDIS_DSN or .env)")
    call.add_argument("service")
    call.add_argument("method")
    call.add_argument("params", nargs="*", metavar="key=text|key:=json")
    call.add_argument("--timeout", type=float, default=5.0, help="seconds")
    tail = commands.add_parser("tail", help="print events as they are accepted (Redis from REDIS_DSN or .env)")
    tail.add_argument("--key", default="", help="only events with this key prefix, e.g. in.gen.track")
    tail.add_argument("--count", type=int, default=0, help="stop after this many events (default: never)")
    adapt = commands.add_parser("requirements", help="adapt a requirements.txt of 2018 to versions that work with band")
    adapt.add_argument("file", nargs="?", default="requirements.txt", type=Path)
    adapt.add_argument("--write", action="store_true", help="change the file instead of printing the result")
    return parser
