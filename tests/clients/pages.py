"""Pages of a web site in Chromium, in which clients for browsers run as they are published.

A program is a module of this folder, such as `segment_browser.mjs`, whose default function gets front's URL and more
words; it fails unless the client reports success. The site is `localhost`, front 127.0.0.1: another site to a browser.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Browser, BrowserContext, Page

HERE = Path(__file__).resolve().parent
RUN = """([script, words]) => {
  window.outcome = { state: "running" };
  import(script).then((program) => program.default(...words)).then(
    (value) => { window.outcome = { state: "done", value: value === undefined ? null : value }; },
    (error) => { window.outcome = { state: "failed", error: String(error.stack || JSON.stringify(error)) }; },
  );
}"""


class _Files(SimpleHTTPRequestHandler):
    """Serves this folder, node_modules with it."""

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""


@contextmanager
def site() -> Iterator[str]:
    """Serve the site; yields its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(HERE))) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


class Visitor:
    """A browser's context with one page. `said` is what the console and failed requests said."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.url = url
        self.said: list[str] = []
        self.requests: list[str] = []
        self.context: BrowserContext = browser.new_context()
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("requestfailed", lambda request: self.said.append(f"{request.url}: {request.failure}"))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: str = "/page.html", **query: str) -> Page:
        """Open a page of the site."""
        self.page.goto(f"{self.url}{path}?{urlencode(query)}" if query else f"{self.url}{path}")
        return self.page

    def start(self, program: str, *words: str) -> Visitor:
        """Start a client's program on a page; returns this visitor, for `finish`."""
        self.open()
        self.page.evaluate(RUN, [f"/{program}", list(words)])
        return self

    def finish(self, seconds: float = 90.0) -> Any:
        """Wait until the program has reported success; returns what it returned."""
        self.page.wait_for_function("() => window.outcome.state !== 'running'", timeout=seconds * 1000)
        outcome = self.page.evaluate("() => window.outcome")
        assert outcome["state"] == "done", (outcome["error"], self.said[-20:])
        return outcome["value"]

    def close(self) -> None:
        self.context.close()
