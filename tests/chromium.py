"""Debian's Chromium, without a window, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]


@contextmanager
def launched() -> Iterator[Browser]:
    """Start a browser; a session of tests needs only one."""
    with sync_playwright() as player:
        binary = shutil.which("chromium") or shutil.which("chromium-browser")
        assert binary, "chromium is missing; bin/test installs Debian's package"
        browser = player.chromium.launch(executable_path=binary, args=ARGS)
        yield browser
        browser.close()
