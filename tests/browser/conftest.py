"""A Chromium, a Redis, and the director's page on a stage (see `stage.py`)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect

sys.path.insert(0, str(Path(__file__).parents[1]))
from chromium import launched
from tests.browser.event_platform import PATIENCE, Platform, Sites, free_port, until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
expect.set_options(timeout=PATIENCE * 1000)
EVENT = {
    "key": "in.gen.track.signup", "channel": "http", "service": "track", "name": "signup", "projectId": 1617632140,
    "uid": "6410748586712844288",
    "td": {"ip": "81.2.69.0", "ua": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)"},
    "data": {
        "plan": "pro", "price": 12.5, "trial": True, "coupon": None,
        "mmgeo": {"city_en": "London", "country_en": "United Kingdom", "country_iso": "GB"},
        "uaparser": {"browser_family": "Mobile Safari", "os_family": "iOS", "device_family": "iPhone", "is_mob": 1},
    },
}  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--pictures` writes docs/pictures/*.png anew."""
    parser.addoption("--pictures", action="store_true", help="write docs/pictures/*.png anew")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a browser, which takes its time on a busy machine."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(180))


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis of our own."""
    port = free_port()
    binary = shutil.which("redis-server")
    assert binary, "redis-server is missing; bin/test installs Debian's package"
    folder = tmp_path_factory.mktemp("redis")
    command = [binary, "--port", str(port), "--save", "", "--bind", "127.0.0.1", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        until(lambda: answers(port))
        yield port
        process.kill()


def answers(port: int) -> bool:
    """Tell whether somebody listens on a port."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


class Theatre:
    """A director on a stage: a process that can be told what happens, ended and begun anew."""

    def __init__(self, redis_port: int, folder: Path, **env: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.redis = redis.Redis(port=redis_port)
        self._log = folder / "stage.log"
        self._env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("BAND_")},
            "HOST": "127.0.0.1", "PORT": str(self.port), "REDIS_DSN": f"redis://127.0.0.1:{redis_port}",
            "BAND_IMAGES": str(folder), "PYTHONPATH": "", **env,
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Begin, and wait until everything answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "stage.py")], env=self._env, cwd=self._log.parent, stdout=log, stderr=log
            )
        until(lambda: answers(self.port))
        until(lambda: self.redis.pubsub_numsub("stage")[0][1] == 1)
        until(self._ready)
        headers = {"X-Band-Token": self._env.get("BAND_TOKEN", "")}
        until(lambda: all(row["memory"] for row in self.ask("/list", **headers) if row["state"] == "running"))

    def _ready(self) -> bool:
        request = urllib.request.Request(
            f"{self.url}/health", headers={"X-Band-Token": self._env.get("BAND_TOKEN", "")}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return bool(json.load(answer)["redis"]["desired_loaded"])
        except urllib.error.HTTPError:
            return False

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None
            until(lambda: self.redis.pubsub_numsub("stage")[0][1] == 0)

    def freeze(self, still: bool) -> None:
        """Stop the process where it stands, or let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if still else signal.SIGCONT)

    def tell(self, do: str, **more: Any) -> None:
        """Say what happens next."""
        assert self.redis.publish("stage", json.dumps({"do": do, **more})) == 1

    def event(self, at: float | None = None, **changes: Any) -> str:
        """Have front store an event at `at` (seconds since 1970, now unless given); returns its id."""
        at_ms = int((at or time.time()) * 1000)
        number = str((at_ms << 22) + int(self.redis.incr("t:event")))
        trace = {
            "at": at_ms, "ms": 4.127, "handler": None,
            "enrichers": {"mmgeo": {"ms": 1.21, "status": "ok"}, "sxgeo": {"ms": 0, "status": "cached"},
                          "uaparser": {"ms": 3.08, "status": "ok"}},
        }  # fmt: skip
        event = {**EVENT, "id": number, "time": at_ms, **changes}
        fields: Any = {"event": json.dumps(event), "trace": json.dumps(trace)}
        self.redis.xadd("events", fields, id=f"{at_ms}-*" if at else "*")
        return number

    def ask(self, path: str, **headers: str) -> Any:
        """Return what the API answers; fail with its words when it is an error."""
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.read().decode()}") from None

    def state(self, name: str) -> str:
        """Return Docker's word for a service, `missing` when there is none."""
        rows = {row["name"]: row["state"] for row in self.ask("/list")}
        return str(rows.get(name, "missing"))

    def log(self) -> str:
        """Return what the director printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")


@pytest.fixture
def theatre(redis_port: int, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Theatre]:
    """A director with the whole cast; `@pytest.mark.parametrize("theatre", [{…env…}], indirect=True)` gives it env."""
    folder = tmp_path / "user"
    folder.mkdir()
    found = Theatre(redis_port, tmp_path, **getattr(request, "param", {}))
    found.redis.flushall()
    found.open()
    yield found
    found.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests."""
    with launched() as browser:
        yield browser


@pytest.fixture
def sites() -> Iterator[Sites]:
    """A web server."""
    found = Sites()
    yield found
    found.close()


@pytest.fixture
def platform(redis_port: int, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Platform]:
    """The services; `@pytest.mark.parametrize("platform", [{…env of front…}], indirect=True)` gives front settings."""
    redis.Redis(port=redis_port).flushall()
    found = Platform(tmp_path, redis_port, **getattr(request, "param", {}))
    yield found
    found.stop()


@pytest.fixture
def browser_of(chromium: Browser) -> Iterator[Callable[[], BrowserContext]]:
    """Makes visitors: browsers that have been nowhere yet."""
    made: list[BrowserContext] = []

    def make() -> BrowserContext:
        made.append(chromium.new_context())
        return made[-1]

    yield make
    for context in made:
        context.close()


class Visit:
    """A browser's context in which every request and every word on the console is noted."""

    def __init__(self, browser: Browser, theatre: Theatre, **how: Any) -> None:
        self.theatre = theatre
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ()
        how = {"viewport": {"width": 1440, "height": 1000}, "reduced_motion": "reduce", **how}
        self.context: BrowserContext = browser.new_context(base_url=theatre.url, **how)
        self.context.set_default_timeout(PATIENCE * 1000)
        self.context.on("request", self._request)
        self.context.on("console", self._console)
        self.context.on("weberror", lambda error: self.complaints.append(f"error: {error.error}"))
        self.page: Page = self.context.new_page()
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def open(self, path: str = "/") -> Page:
        """Open a page and wait until it is kept fresh."""
        self.page.goto(path)
        self.page.wait_for_selector("#link[data-state=live]")
        return self.page

    def judge(self) -> None:
        """Fail when a request left the host, or the console has something to say that was not `expected`."""
        hosts = {urlsplit(url).hostname for url in self.requests}
        assert hosts <= {"127.0.0.1"}, f"requests left the host: {hosts}"
        odd = [words for words in self.complaints if not any(part in words for part in self.expected)]
        assert not odd, odd


@pytest.fixture
def visit(chromium: Browser, theatre: Theatre) -> Iterator[Visit]:
    """A visitor with a wide screen, who likes no motion; at the end nothing may have left the host or gone wrong."""
    found = Visit(chromium, theatre)
    yield found
    found.context.close()
    found.judge()


@pytest.fixture
def visitors(chromium: Browser, theatre: Theatre) -> Iterator[Callable[..., Visit]]:
    """Visitors of other kinds: `visitors(viewport={…}, color_scheme="dark")`."""
    made: list[Visit] = []

    def make(**how: Any) -> Visit:
        made.append(Visit(chromium, theatre, **how))
        return made[-1]

    yield make
    for found in made:
        found.context.close()
        found.judge()
