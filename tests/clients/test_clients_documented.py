"""The programs of the page "Send events" and of those about other products, as a reader copies them."""

from __future__ import annotations

import os
import re
import subprocess
from textwrap import dedent

import pytest
from clients import HERE, PYTHON, ROOT, Platform

pytestmark = pytest.mark.skipif(
    not os.environ.get("BAND_TEST_CLIENTS"), reason="bin/test clients installs the libraries, and runs these"
)
PAGES = [ROOT / "docs" / "send-events.md", *sorted((ROOT / "docs" / "families").glob("*.md"))]
BLOCK = re.compile(r"^( *)```(python|js)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
BLOCKS = [
    (language, dedent(text)) for page in PAGES for _, language, text in BLOCK.findall(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("language", "block"), BLOCKS, ids=lambda text: text.split("\n", 1)[0][:60])
def test_a_program_of_the_page_sends_events(platform: Platform, language: str, block: str) -> None:
    """The events that it names are in the stream when it has ended."""
    program = [str(PYTHON), "-c"] if language == "python" else ["node", "-e"]
    text = block.replace("http://127.0.0.1:10001", platform.url)
    env = {"PATH": os.environ["PATH"], "NODE_NO_WARNINGS": "1"}
    subprocess.run([*program, text], cwd=HERE, env=env, check=True, timeout=60, capture_output=True)
    assert any(event["name"].endswith("Order Completed") for event in platform.events())
