"""The commands of the page "Send events" and of those about other products, as a reader types them."""

from __future__ import annotations

import asyncio
import re
import subprocess
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = [DOCS / "send-events.md", *sorted((DOCS / "families").glob("*.md"))]
BLOCK = re.compile(r"^( *)```bash\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
BLOCKS = [
    dedent(block) for page in PAGES for _, block in BLOCK.findall(page.read_text(encoding="utf-8")) if ":10001" in block
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n", 1)[0][:60])
async def test_a_block_of_the_page_sends_events(front: Any, peers: Any, tmp_path: Path, block: str) -> None:
    """Every request of it is stored, and what the page says of the response is how it begins and ends."""
    script = block.replace("http://127.0.0.1:10001", front.url).replace("curl -s", "curl -sS")
    bash = partial(subprocess.run, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30)
    done = await asyncio.to_thread(bash, ["bash", "-ec", script])
    assert await peers.redis.xlen("events") >= block.count("curl")
    for expected in re.findall(r"# (\{.*\})", block):
        assert re.sub(r"\d{19}", "ID", expected) in re.sub(r"\d{19}", "ID", done.stdout)
