"""`band new`, `run`, `call` and `tail`, as typed in a shell."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from band import testing
from band.commands.ask import read_pairs
from band.commands.develop import snapshot
from band.errors import RpcRemoteError
from band.service.lifecycle import Service

CONTROLS = "\x1b\x9b\u202e\u2066"
"""What no terminal should get: escapes of C0 and C1, and text that turns its direction."""
BAND = [sys.executable, "-m", "band"]


def run_band(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BAND, *words], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False
    )


def until(found: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


def test_new_refuses_what_cannot_be_a_name_and_what_is_there(tmp_path: Path) -> None:
    """A name that is no package's, or a folder that exists, is refused with the reason; nothing is written."""
    refused = run_band("new", "../evil", cwd=tmp_path)
    assert refused.returncode == 1
    assert "is not a valid service name" in refused.stderr
    (tmp_path / "mine").mkdir()
    taken = run_band("new", "mine", cwd=tmp_path)
    assert taken.returncode == 1
    assert "already exists" in taken.stderr
    assert list((tmp_path / "mine").iterdir()) == []


def test_run_starts_the_folders_package_and_again_after_a_change(tmp_path: Path, redis: Any) -> None:
    """`band run` starts the service with its .env, restarts it when a file changes, and ends with it on SIGINT."""
    assert run_band("new", "visits", cwd=tmp_path).returncode == 0
    home = tmp_path / "visits"
    (home / ".env").write_text(f"REDIS_DSN={redis.dsn}\nHOST=127.0.0.1\nPORT=0\nGREETING=Servus\n")
    log = tmp_path / "log"
    env = {key: value for key, value in os.environ.items() if key != "REDIS_DSN"}
    with log.open("wb") as out:
        child = subprocess.Popen([*BAND, "run", "visits"], cwd=tmp_path, env=env, stdout=out, stderr=out)
    try:
        until(lambda: "service_started" in log.read_text())
        answer = run_band("call", "visits", "hello", "name=Ada", cwd=home)
        assert json.loads(answer.stdout) == {"text": "Servus, Ada!"}, answer.stderr
        handlers = home / "visits" / "handlers.py"
        handlers.write_text(handlers.read_text().replace("{name}!", "{name}?"))
        until(lambda: log.read_text().count("service_started") == 2)
        assert json.loads(run_band("call", "visits", "hello", "name=Ada", cwd=home).stdout) == {"text": "Servus, Ada?"}
    finally:
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 0
    assert "a file changed" in log.read_text()


@pytest.mark.parametrize("sign", [signal.SIGHUP, signal.SIGTERM])
def test_run_leaves_no_service_behind(tmp_path: Path, sign: signal.Signals) -> None:
    """A closed terminal sends SIGHUP: the service ends with `band run`, and its port is free again."""
    (tmp_path / "one" / "one").mkdir(parents=True)
    (tmp_path / "one" / "one" / "__init__.py").touch()
    (tmp_path / "one" / "one" / "__main__.py").write_text(
        "import os, pathlib, time\npathlib.Path('pid').write_text(f'{os.getpid()}\\n')\ntime.sleep(60)\n"
    )
    told = tmp_path / "one" / "pid"
    # Under nohup the tests themselves ignore SIGHUP, and children inherit that.
    heed = partial(signal.signal, sign, signal.SIG_DFL)
    child = subprocess.Popen([*BAND, "run", "one"], cwd=tmp_path, preexec_fn=heed)
    until(lambda: told.exists() and told.read_text().endswith("\n"))
    child.send_signal(sign)
    assert child.wait(30) == 128 + sign
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def test_a_file_that_is_gone_when_it_is_looked_at_is_none(tmp_path: Path) -> None:
    """Editors write and remove files beside ours; Emacs locks `a.py` with a link `.#a.py` that leads nowhere."""
    (tmp_path / "a.py").touch()
    (tmp_path / ".#a.py").symlink_to("somebody@host.1:2")
    assert list(snapshot(tmp_path)) == [str(tmp_path / "a.py")]


def test_run_without_a_package_says_so(tmp_path: Path) -> None:
    """A folder with nothing to run is named in the error."""
    done = run_band("run", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr


async def test_call_prints_results_and_errors(tmp_path: Path, run_service: Any, redis: Any) -> None:
    """A result is JSON on standard output; an error is a sentence on standard error and status 1."""
    import asyncio

    service = Service()

    @service.expose()
    async def add(a: int = 0, b: int = 0) -> int:
        return a + b

    @service.expose()
    async def foreign() -> str:
        return CONTROLS

    await run_service(service, name="sums")
    done = await asyncio.to_thread(run_band, "call", "sums", "add", "a:=2", "b:=3", cwd=tmp_path, REDIS_DSN=redis.dsn)
    assert (done.returncode, done.stdout) == (0, "5\n")
    said = await asyncio.to_thread(run_band, "call", "sums", "foreign", cwd=tmp_path, REDIS_DSN=redis.dsn)
    assert (json.loads(said.stdout), set(said.stdout) & set(CONTROLS)) == (CONTROLS, set())
    wrong = await asyncio.to_thread(run_band, "call", "sums", "nope", cwd=tmp_path, REDIS_DSN=redis.dsn)
    assert wrong.returncode == 1
    assert "sums has no method 'nope'" in wrong.stderr
    nobody = await asyncio.to_thread(run_band, "call", "sum", "add", cwd=tmp_path, REDIS_DSN=redis.dsn)
    assert nobody.returncode == 1
    assert "no service 'sum' is connected to Redis" in nobody.stderr


def test_parameters_are_texts_or_json() -> None:
    """key=value is a text, key:=value is JSON; anything else is refused."""
    assert read_pairs(["a=1", "b:=1", 'c:={"d": [true]}', "e=x=y"]) == {
        "a": "1",
        "b": 1,
        "c": {"d": [True]},
        "e": "x=y",
    }
    with pytest.raises(ValueError, match="write key=text or key:=json"):
        read_pairs(["nothing"])


def test_tail_prints_the_events_of_a_key(tmp_path: Path, redis: Any) -> None:
    """Events that are accepted from now on are printed, one JSON object a line; others keys are left out."""
    log = tmp_path / "events"
    with log.open("wb") as out:
        words = [*BAND, "tail", "--key", "in.gen.track", "--count", "1"]
        child = subprocess.Popen(words, cwd=tmp_path, env={**os.environ, "REDIS_DSN": redis.dsn}, stdout=out)

    def accepted() -> bool:
        for key in ("in.gen.other.x", "in.gen.track.page"):
            event = json.dumps({"key": key, "uid": CONTROLS}, ensure_ascii=False)
            subprocess.run(
                ["redis-cli", "-u", redis.dsn, "XADD", "events", "*", "event", event], capture_output=True, check=True
            )
        return child.poll() is not None

    try:
        until(accepted)
    finally:
        child.kill()
        child.wait()
    told = log.read_text(encoding="utf-8")
    assert json.loads(told) == {"key": "in.gen.track.page", "uid": CONTROLS}
    assert not set(told) & set(CONTROLS)


async def test_the_bench_calls_enriches_listens_and_stands_in() -> None:
    """band.testing does what a platform would do to a service, without one."""
    subject = Service()
    heard: list[Any] = []

    @subject.expose.enricher(keys=["in.gen.track"], props={"ip": "td.ip", "absent": "td.nothing"})
    async def enrich(ip: str = "", **params: Any) -> dict[str, Any]:
        return {"ip": ip, "more": sorted(params)}

    @subject.expose.listener(batch=10)
    async def broadcast(events: list[dict[str, Any]]) -> None:
        heard.extend(event["id"] for event in events)

    @subject.expose()
    async def where(ip: str) -> Any:
        return await subject.rpc.call("mmgeo", "get", {"ip": ip})

    @subject.expose()
    async def broken() -> None:
        raise ValueError("no luck")

    async with testing.running(subject=subject) as bench:
        await bench.peer("mmgeo", get=lambda ip: {"country_iso": "GB", "ip": ip})
        assert await bench.enrich(testing.make_event(td={"ip": "192.0.2.1"})) == {"ip": "192.0.2.1", "more": []}
        assert await bench.enrich(testing.make_event("in.gen.other.x")) is None
        await bench.listen(testing.make_event(id="1"), testing.make_event(id="2"))
        assert heard == ["1", "2"]
        assert await bench.call("where", ip="192.0.2.9") == {"country_iso": "GB", "ip": "192.0.2.9"}
        with pytest.raises(RpcRemoteError, match="no luck"):
            await bench.call("broken")


@pytest.fixture
def fake_npm(tmp_path: Path) -> dict[str, str]:
    """An npm that notes what it was asked for; `npm pack` leaves a file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(
        f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n'
        f'[ "$1" != pack ] || touch "$3/made.tgz"\n[ ! -e {tmp_path}/broken ]\n'
    )
    npm.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_new_in_typescript_lays_the_package_beside_the_service(tmp_path: Path, fake_npm: dict[str, str]) -> None:
    """Everything that it takes is there, nothing names a registry, and the package lies in vendor/."""
    done = run_band("new", "--ts", "visits", cwd=tmp_path, **fake_npm)
    assert (done.returncode, done.stderr) == (0, "")
    home = tmp_path / "visits"
    made = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
    assert made == {
        "package.json", "tsconfig.json", "config.yml", "band.yml", "Dockerfile", ".dockerignore", ".gitignore",
        ".env.example", "src/main.ts", "src/handlers.ts", "test/visits.test.ts", "vendor/made.tgz",
    }  # fmt: skip
    manifest = json.loads((home / "package.json").read_text())
    assert manifest["dependencies"]["@rockstat/rock-me-ts"].startswith("file:vendor/rockstat-rock-me-ts-2.")
    assert "npm install && npm test" in done.stdout
    assert not [path for path in home.rglob("*") if path.is_file() and "@NAME@" in path.read_text()]


def test_without_npm_or_with_one_that_fails_the_service_is_written_all_the_same(
    tmp_path: Path, fake_npm: dict[str, str]
) -> None:
    """The director can build it; what is missing here is said."""
    nowhere = run_band("new", "--ts", "one", cwd=tmp_path, PATH="/nonexistent")
    assert nowhere.returncode == 0
    assert "there is no npm here: install Node.js 20 and npm, then run (cd " in nowhere.stdout
    (tmp_path / "broken").touch()
    failed = run_band("new", "--ts", "two", cwd=tmp_path, **fake_npm)
    assert failed.returncode == 0
    assert re.search(r"npm \w+.* failed in ", failed.stdout)
    assert (tmp_path / "two" / "src" / "main.ts").is_file()


def test_run_of_a_folder_with_package_json_builds_first(tmp_path: Path, fake_npm: dict[str, str]) -> None:
    """What is missing is said; npm is not between a script and its signals; a failed build starts nothing."""
    home = tmp_path / "ts"
    home.mkdir()
    manifest = home / "package.json"
    manifest.write_text("{}")
    assert "run npm install there" in run_band("run", "ts", cwd=tmp_path, **fake_npm).stderr
    (home / "node_modules" / ".bin").mkdir(parents=True)
    assert 'neither a script "start" nor "main"' in run_band("run", "ts", cwd=tmp_path, **fake_npm).stderr
    manifest.write_text(json.dumps({"scripts": {"build": "tsc", "start": "hello"}}))
    hello = home / "node_modules" / ".bin" / "hello"
    hello.write_text("#!/bin/sh\necho started\n")
    hello.chmod(0o755)
    assert run_band("run", "--no-reload", "ts", cwd=tmp_path, **fake_npm).stdout == "started\n"
    assert (tmp_path / "asked").read_text() == "run --silent build\n"
    (tmp_path / "broken").touch()
    assert run_band("run", "--no-reload", "ts", cwd=tmp_path, **fake_npm).stdout == ""
