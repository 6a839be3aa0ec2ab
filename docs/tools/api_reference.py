"""Write docs/api.md from the docstrings of what services import. `python docs/tools/api_reference.py [--check]`."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "api.md"
HEAD = """# What services import

Made from the docstrings by `docs/tools/api_reference.py`; a test compares. How to begin: [write a service in ten minutes](write-a-service.md).
"""
# Name in the page → where it is defined, and which of its methods are shown (empty: the thing itself).
PARTS: list[tuple[str, str, list[str]]] = [
    ("start_server", "band.service.runner:start_server", []),
    ("settings", "band.config:Settings", []),
    ("expose", "band.registry:Expose", ["__call__", "handler", "enricher", "listener"]),
    ("setup, worker, cleanup", "band.registry:Worker", ["__call__"]),
    ("health", "band.registry:Health", ["__call__"]),
    ("rpc", "band.jsonrpc.client:RpcClient", ["call", "request", "notify", "__getattr__", "call_many", "scatter"]),
    ("Scatter", "band.jsonrpc.pending:Scatter", []),
    ("response", "band.responses:ResponseFactory", ["data", "error", "redirect", "pixel"]),
    ("link", "band.redis.link:RedisLink", ["command", "ask", "publish", "ready", "connected"]),
    ("redis_factory", "band.compat.redis_factory:RedisFactory", ["create_client", "create_pool", "create_redis_pool", "close_client", "close_pool", "client"]),
    ("scheduler", "band.service.jobs:Scheduler", ["spawn", "spawn_tasks"]),
    ("blocking", "band.service.jobs:blocking", []),
    ("crontab", "band.service.crontab:crontab", []),
    ("dome", "band.service.lifecycle:Dome", []),
    ("testing.running", "band.testing:running", []),
    ("testing.make_event", "band.testing:make_event", []),
    ("testing.Bench", "band.testing:Bench", ["call", "enrich", "listen", "peer"]),
]  # fmt: skip
ERRORS = "band.errors"


def find(place: str) -> Any:
    """Return the object at ``module:name``."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def signature(thing: Any, name: str) -> str:
    """Return ``name(parameters)`` as code."""
    if isinstance(thing, property):
        return name
    text = str(inspect.signature(thing)).replace("(self, ", "(").replace("(self)", "()")
    return name + re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)  # annotations are texts, which are shown quoted


def docstring(thing: Any) -> str:
    """Return a docstring as Markdown: literals in single backticks, code and sections kept apart."""
    lines: list[str] = []
    code = False
    for line in inspect.cleandoc(thing.__doc__ or "").replace("``", "`").splitlines():
        if line.endswith("::"):
            lines += [line[:-1]] if line != "::" else []
            code = True
            lines += ["", "```python"]
        elif code and line and not line.startswith(" "):
            lines += ["```", "", line]
            code = False
        elif line in ("Args:", "Raises:", "Attributes:"):
            lines += [f"*{line[:-1]}*", ""]
        elif not code and line.startswith("        "):
            lines[-1] += f" {line.strip()}"  # an item goes on
        elif not code and line.startswith("    "):
            lines.append(f"- {line.strip()}")
        else:
            lines.append(line[4:] if code else line)
    return "\n".join([*lines, "```"] if code else lines).strip()


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for title, place, methods in PARTS:
        thing = find(place)
        parts.append(f"## {title}\n\n{docstring(thing)}\n")
        owner = title.split(".")[-1].split(",")[0]
        if not methods and inspect.isfunction(thing):
            parts.append(f"```python\n{signature(thing, title)}\n```\n")
        for method in methods:
            member = inspect.getattr_static(thing, method)
            shown = owner if method == "__call__" else f"{owner}.{method.replace('__getattr__', 'NAME')}"
            parts.append(f"### `{signature(member, shown)}`\n\n{docstring(member)}\n")
    parts.append(f"## Errors\n\n{docstring(importlib.import_module(ERRORS)).replace('```python', '```text')}\n")
    return "\n".join(parts)


def main() -> int:
    """Write the page, or with --check compare it; 0 when it is as it should be."""
    text = page()
    if "--check" in sys.argv:
        return 0 if PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
