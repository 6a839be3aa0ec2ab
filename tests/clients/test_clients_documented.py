"""The programs of the page "Send events", as a reader copies them."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from clients import HERE, PYTHON, ROOT, Platform

pytestmark = pytest.mark.skipif(
    not os.environ.get("BAND_TEST_CLIENTS"), reason="bin/test clients installs the libraries, and runs these"
)
PAGE = (ROOT / "docs" / "send-events.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|js)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("language", "block"), BLOCKS, ids=lambda text: text.split("\n", 1)[0][:60])
def test_a_program_of_the_page_sends_events(platform: Platform, language: str, block: str) -> None:
    """The events that it names are in the stream when it has ended."""
    program = [str(PYTHON), "-c"] if language == "python" else ["node", "-e"]
    text = block.replace("http://127.0.0.1:10001", platform.url)
    env = {"PATH": os.environ["PATH"], "NODE_NO_WARNINGS": "1"}
    subprocess.run([*program, text], cwd=HERE, env=env, check=True, timeout=60, capture_output=True)
    assert "Order Completed" in {event["name"] for event in platform.events()}
