"""docs/write-a-typescript-service.md word by word, and `band dev` on the service that it leads to."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_with_users import RedisWithUsers

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "write-a-typescript-service.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"^(?:#|//) (?:(write|append) (\S+)|(\S+) \((as made)\))\n")

pytestmark = pytest.mark.skipif(
    not os.environ.get("BAND_TEST_NODE"), reason="bin/test node builds the TypeScript framework, and runs these"
)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of an author: `band` on the PATH."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "band").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m band_cli "$@"\n')
    (folder / "band").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory, tools: dict[str, str]) -> Iterator[tuple[Path, list[str]]]:
    """The service of the guide, and what its commands printed."""
    here = tmp_path_factory.mktemp("guide")
    ran = []
    for language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if mark := MARK.match(text):
            verb, file, made = (
                mark.group(1) or mark.group(4),
                here / (mark.group(2) or mark.group(3)),
                text[mark.end() :],
            )
            before = file.read_text(encoding="utf-8") if file.exists() else ""
            if verb == "as made":
                assert before == made
            else:
                file.write_text(f"{before}\n{made}" if verb == "append" else made, encoding="utf-8")
        if language == "bash":
            done = subprocess.run(
                ["bash", "-ec", f"{text}\npwd"],
                cwd=here,
                env=tools,
                capture_output=True,
                text=True,
                timeout=200,
                check=False,
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            here = Path(done.stdout.splitlines()[-1])
            ran.append(done.stdout)
    yield here, ran


@pytest.mark.timeout(300)
def test_the_guide_leads_to_a_service_whose_tests_pass(visits: tuple[Path, list[str]]) -> None:
    """Every block is written or run."""
    _, ran = visits
    assert [re.findall(r"^. pass (\d+)", text, re.MULTILINE) for text in ran] == [["2"], [], ["1"], ["3"]]


def test_a_type_error_fails_the_build_with_its_line(visits: tuple[Path, list[str]], tools: dict[str, str]) -> None:
    """As in the build of the image; what was built before stays."""
    home, _ = visits
    handlers = home / "src" / "handlers.ts"
    good = handlers.read_text()
    handlers.write_text(good.replace('({ uid = "" }) =>', "({ uid }) =>"))
    try:
        done = subprocess.run(["npm", "run", "build"], cwd=home, env=tools, capture_output=True, text=True, check=False)
    finally:
        handlers.write_text(good)
    assert done.returncode != 0
    assert re.search(r"^src/handlers\.ts\(\d+,\d+\): error TS\d+: ", done.stdout, re.MULTILINE), done.stdout


def until(found: Callable[[], Any], seconds: float = 40.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


def test_dev_run_builds_and_restarts_and_call_asks_it(
    visits: tuple[Path, list[str]], tools: dict[str, str], redis: RedisWithUsers, tmp_path: Path
) -> None:
    """A type error keeps the last build running; the next change is built and started; Ctrl-C ends it."""
    home, _ = visits
    (home / ".env").write_text(f"REDIS_DSN=redis://127.0.0.1:{redis.port}/0\nHOST=127.0.0.1\nPORT=0\n")
    env = {key: value for key, value in tools.items() if key != "REDIS_DSN"}
    log = tmp_path / "log"
    handlers = home / "src" / "handlers.ts"
    good = handlers.read_text()

    def call() -> Any:
        done = subprocess.run(
            ["band", "dev", "call", "visits", "top"], cwd=home, env=env, capture_output=True, text=True, check=False
        )
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    with log.open("wb") as out:
        child = subprocess.Popen(["band", "dev", "run"], cwd=home, env=env, stdout=out, stderr=out)
    try:
        until(lambda: "service_started" in log.read_text())
        assert call() == []
        handlers.write_text(good.replace("return busiest", "return busy"))
        until(lambda: "the build failed" in log.read_text())
        assert call() == []
        handlers.write_text(
            good.replace("return busiest.map", 'return ["new", ...busiest].map').replace(
                "([uid, events]) => ({ uid, events })", "String"
            )
        )
        until(lambda: log.read_text().count("service_started") == 2)
        assert call() == ["new"]
    finally:
        handlers.write_text(good)
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0
    assert log.read_text().count("service_stopped") >= 1
