"""The page over a real Docker Engine: a service is built, run, read, changed, rolled back, stopped and removed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_client
from playwright.sync_api import Browser, expect
from tests.browser.conftest import Theatre, Visit, answers, free_port, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]

NAMESPACE = "t-page"
PORT = 10140
BASE_IMAGE = os.environ.get("BAND_TEST_BASE_IMAGE", "rockstat/band-base-py:latest")
PASSWORD = "canary-redis-password"
MAIN = """
import sys
from band import expose, settings, start_server

print("release {release} says hello", flush=True)
print("and this is a complaint", file=sys.stderr, flush=True)

@expose()
async def fall(**params):
    import os
    print("I fall", flush=True)
    os._exit(3)

start_server(**settings)
"""


def docker(*words: str, check: bool = True) -> str:
    """Run the Docker CLI and return its output."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def tidy() -> None:
    """Remove every container, image and network of this test."""
    label = f"label=band.namespace={NAMESPACE}"
    for kind, remove in ((("ps", "-aq"), ("rm", "-fv")), (("images", "-q"), ("rmi", "-f"))):
        found = sorted(set(docker(*kind, "--filter", label).split()))
        if found:
            docker(*remove, *found, check=False)
    docker("network", "rm", NAMESPACE, check=False)


class RealDirector(Theatre):
    """`python -m director` as anybody would start it, over the engine of this host."""

    def __init__(self, redis_port: int, gateway: str, folder: Path) -> None:
        self.port, self.url = PORT, f"http://127.0.0.1:{PORT}"
        self.redis = redis_client.Redis(port=redis_port, password=PASSWORD)
        self.folder = folder
        self._log = folder / "director.log"
        self._env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("BAND_")},
            "HOST": "127.0.0.1", "PORT": str(PORT), "REDIS_DSN": f"redis://:{PASSWORD}@127.0.0.1:{redis_port}",
            "BAND_SERVICE_REDIS_DSN": f"redis://:{PASSWORD}@{gateway}:{redis_port}", "BAND_NAMESPACE": NAMESPACE,
            "BAND_IMAGES": str(folder), "BAND_PORTS": "8770-8789", "BAND_BASE_IMAGE": BASE_IMAGE, "PYTHONPATH": "",
        }  # fmt: skip
        self._process = None

    def open(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "director"], env=self._env, cwd=self.folder, stdout=log, stderr=log
            )
        until(lambda: answers(self.port))
        until(self._ready)

    def close(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    def write(self, release: str) -> None:
        """Write the image folder of the service `hello`."""
        path = self.folder / "user" / "hello"
        (path / "hello").mkdir(parents=True, exist_ok=True)
        (path / "Dockerfile").write_text('FROM {band-base-py-image}\nCOPY . .\nCMD ["python", "-m", "hello"]\n')
        (path / "config.yaml").write_text("name: hello\n")
        (path / "band.yml").write_text("title: Says hello\npos: '2x2'\nsecrets: [HELLO_CODE]\n")
        (path / "hello" / "__init__.py").write_text("")
        (path / "hello" / "__main__.py").write_text(MAIN.format(release=release))


@pytest.fixture
def director(tmp_path: Path) -> Iterator[RealDirector]:
    """A director of our own namespace, with a Redis that its containers reach."""
    tidy()
    docker("network", "create", "--label", f"band.namespace={NAMESPACE}", NAMESPACE)
    gateway = docker("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", NAMESPACE)
    port = free_port()
    binary = shutil.which("redis-server")
    assert binary, "redis-server is missing; bin/test installs Debian's package"
    command = [binary, "--port", str(port), "--save", "", "--bind", "127.0.0.1", gateway, "--requirepass", PASSWORD]
    with subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL) as process:
        until(lambda: answers(port))
        made = RealDirector(port, gateway, tmp_path)
        made.write("one")
        made.open()
        yield made
        made.close()
        process.kill()
    tidy()


def test_a_service_lives_its_whole_life_on_the_page(chromium: Browser, director: RealDirector) -> None:
    """Build with progress, run with a secret, both streams, crash and return, change, roll back, stop, remove."""
    visit = Visit(chromium, director)
    page = visit.open()
    card = page.locator("#card-hello")
    lines = page.locator("#lines .line")

    page.get_by_role("button", name="Run hello").click()
    page.get_by_label("HELLO_CODE").fill("canary-hello-code")
    page.get_by_role("dialog").get_by_role("button", name="Run", exact=True).click()
    expect(lines.filter(has_text="building t-page/hello:").first).to_be_visible()
    expect(card.locator(".state")).to_have_text("running", timeout=90_000)
    expect(card).to_contain_text(re.compile(r"87\d\d → 8080"))
    expect(card).to_contain_text(re.compile(r"MiB of 350 MiB"), timeout=30_000)
    expect(page.locator("#lines .s-build").filter(has_text="built t-page/hello:")).to_be_visible()
    expect(page.locator("#lines .s-stdout").filter(has_text="release one says hello")).to_be_visible()
    expect(page.locator("#lines .s-stderr").filter(has_text="and this is a complaint")).to_be_visible()
    assert "canary-hello-code" not in page.content() + director.log()

    with pytest.raises(AssertionError, match=r"timeout|service_failed"):
        director.ask("/call/hello/fall")
    expect(page.locator("#lines .s-director").filter(has_text="exited with code 3").first).to_be_visible()
    expect(card.locator(".state")).to_have_text("running", timeout=30_000)

    first = director.ask("/releases/hello")["releases"][0]["id"]
    director.write("two")
    act(page, "Run with settings… hello", "Run")
    expect(lines.filter(has_text="release two says hello").first).to_be_visible(timeout=90_000)
    expect(page.get_by_role("status").filter(has_text="hello is running")).to_be_visible(timeout=60_000)
    # A stop would cancel it. The form is fetched from a path that ends alike.
    with page.expect_response(lambda one: one.url == f"{director.url}/rollback/hello", timeout=60_000):
        act(page, "Roll back… hello", "Roll back")
    expect(card).to_contain_text(first[:8], timeout=60_000)

    page.get_by_role("button", name="Stop hello").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
    expect(card.locator(".state")).to_have_text("stopped", timeout=30_000)
    act(page, "Remove… hello", "Remove")
    expect(card).to_have_count(0, timeout=30_000)
    until(lambda: docker("ps", "-aq", "--filter", f"label=band.namespace={NAMESPACE}") == "", 30)
    visit.context.close()
    visit.judge()


def act(page: Any, item: str, yes: str) -> None:
    """Choose an item of the card's menu and say yes."""
    page.locator("#card-hello .menu summary").click()
    page.get_by_role("button", name=item, exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name=yes, exact=True).click()
