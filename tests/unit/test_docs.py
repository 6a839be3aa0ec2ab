"""The documents do what they say: their code is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
WRITE = re.compile(r"^# write (\S+)\n")


def test_write_a_service_in_ten_minutes(tmp_path: Path) -> None:
    """Following docs/write-a-service.md word by word leads to a service whose tests pass."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, command in (("band", f'"{sys.executable}" -m band "$@"'), ("python", f'"{sys.executable}" "$@"')):
        (tools / name).write_text(f"#!/bin/sh\nexec {command}\n")
        (tools / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    here = tmp_path
    ran = []
    for language, text in BLOCK.findall((ROOT / "docs" / "write-a-service.md").read_text(encoding="utf-8")):
        if target := WRITE.match(text):
            (here / target.group(1)).write_text(text[target.end() :], encoding="utf-8")
        if language != "bash":
            continue
        done = subprocess.run(
            ["bash", "-ec", f"{text}\npwd"], cwd=here, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        here = Path(done.stdout.splitlines()[-1])
        ran.append(done.stdout)
    assert "2 passed" in ran[0]
    assert "1 passed" in ran[-1]


def test_links_of_the_documents_lead_somewhere() -> None:
    """Each link to a file of the repository names one that is there."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_api_reference_is_that_of_the_code() -> None:
    """docs/api.md is what the docstrings say now."""
    command = [sys.executable, str(ROOT / "docs" / "tools" / "api_reference.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"run {' '.join(command[:2])}\n{done.stderr}"


def test_the_api_reference_names_everything_that_is_imported() -> None:
    """Each public name of band has its place in the page, but for aiohttp's own `web`, `app` and the plain `loop`."""
    import band

    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    titles = {word for line in re.findall(r"^## (.+)$", text, re.MULTILINE) for word in line.split(", ")}
    assert set(band.__all__) - {"web", "app", "loop", "logger"} <= titles


def test_the_directors_page_lists_its_endpoints() -> None:
    """docs/director.md has one row for each endpoint, with its parameters."""
    import msgspec

    from director.endpoints import ENDPOINTS

    text = (ROOT / "docs" / "director.md").read_text(encoding="utf-8")
    rows = {row.split("`")[1]: row for row in re.findall(r"^\| `/.*$", text, re.MULTILINE)}
    assert set(rows) == {endpoint.path for endpoint in ENDPOINTS}
    for endpoint in ENDPOINTS:
        for field in msgspec.structs.fields(endpoint.params):
            assert f"{{{field.encode_name}}}" in endpoint.path or f"`{field.encode_name}`" in rows[endpoint.path]
