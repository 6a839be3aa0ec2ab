"""The page "Put it on your site": its blocks in a page of a site, and its settings in the proxy's configuration."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from playwright.sync_api import Browser, Page
from tests.browser.front_stage import stage

ROOT = Path(__file__).resolve().parents[2]
ROLES = ROOT / "roles"
DEFAULTS = ("settings/defaults", "proxy/defaults", "proxy/vars")
TEXT = (ROOT / "docs" / "put-it-on-your-site.md").read_text(encoding="utf-8")
BLOCKS: dict[str, list[str]] = {}
for _language, _text in re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE):
    BLOCKS.setdefault(_language, []).append(_text)
(SNIPPET,) = BLOCKS["html"]
(POLICY,) = BLOCKS["http"]
PAGE_VIEW = "in.gen.track.page"


class Site:
    """A web site of one page, with headers of its own, and the front that it sends to."""

    def __init__(self, folder: Path, redis_port: int) -> None:
        self.redis = redis.Redis(port=redis_port)
        self.redis.flushall()
        self.front = stage.FrontProcess(folder, f"redis://127.0.0.1:{redis_port}")
        self.body, self.headers = "", {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"<!doctype html><title>a shop</title>{site.body}".encode()
                self.send_response(200)
                for name, value in {"Content-Type": "text/html; charset=utf-8", **site.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.front.stop()
        self._server.shutdown()
        self._server.server_close()

    def snippet(self) -> str:
        """Return the snippet as the reader pastes it, with the name of this front."""
        assert SNIPPET.count("https://t.example.com") == 1
        return SNIPPET.replace("https://t.example.com", self.front.url)

    def has(self, *keys: str) -> bool:
        """Wait for events of these keys, in any order: a browser may send them side by side."""

        def found() -> bool:
            rows: Any = self.redis.xrange("events")
            return not Counter(keys) - Counter(json.loads(fields[b"event"])["key"] for _, fields in rows)

        stage.wait_for(found, f"events {keys}")
        return True


@pytest.fixture
def site(tmp_path: Path, redis_port: int) -> Iterator[Site]:
    found = Site(tmp_path, redis_port)
    yield found
    found.close()


@pytest.fixture
def visitor(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def test_the_snippet_as_it_is_pasted_counts_a_visit(site: Site, visitor: Page) -> None:
    site.body = site.snippet()
    visitor.goto(site.url)
    assert site.has(PAGE_VIEW)


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS["js"] if "// in.gen" in block], ids=lambda block: block.split("\n", 1)[0][:50]
)
def test_a_script_of_the_page_sends_what_it_says(site: Site, visitor: Page, block: str) -> None:
    """The keys in its comments are those of the events, after the page view of the snippet."""
    site.body = f"{site.snippet()}<script>{block}</script>"
    visitor.goto(site.url)
    expected = re.findall(r"// (in\.gen\.\S+)$", block, re.MULTILINE)
    assert expected
    assert site.has(PAGE_VIEW, *expected)


def test_the_route_of_a_single_page_application_is_a_page_view(site: Site, visitor: Page) -> None:
    """With the line of the page in place of the snippet's own."""
    (line,) = [block for block in BLOCKS["js"] if "trackPages" in block]
    own = 'rstat4("configure", { projectId: 1 });\n'
    assert SNIPPET.count(own) == 1
    site.body = site.snippet().replace(own, line)
    visitor.goto(site.url)
    assert site.has(PAGE_VIEW)
    visitor.evaluate("history.pushState({}, '', '/products')")
    assert site.has(PAGE_VIEW, PAGE_VIEW)


def test_a_browser_that_is_to_be_ignored_sends_nothing_any_more(site: Site, visitor: Page) -> None:
    """Typed into the console, it also holds for later pages."""
    site.body = site.snippet()
    visitor.goto(site.url)
    assert site.has(PAGE_VIEW)
    visitor.evaluate('rstat4("ignore");' if 'rstat4("ignore");\n' in BLOCKS["js"] else "")
    visitor.wait_for_timeout(300)
    seen = site.redis.xlen("events")
    visitor.goto(f"{site.url}?again")
    visitor.wait_for_timeout(800)
    assert site.redis.xlen("events") == seen


def test_the_policy_of_the_page_is_enough(site: Site, visitor: Page) -> None:
    """With the nonce in the snippet; without front's host in the policy nothing is sent."""
    name, _, policy = POLICY.strip().partition(": ")
    complaints: list[str] = []
    visitor.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    site.headers = {name: policy.replace("https://t.example.com", site.front.url)}
    site.body = site.snippet().replace("<script>", '<script nonce="R4nd0m">') + '<link rel="icon" href="data:,">'
    visitor.goto(site.url)
    assert site.has(PAGE_VIEW)
    assert [text for text in complaints if "data:," not in text] == []
    site.headers = {name: policy.replace(" https://t.example.com", "")}
    visitor.goto(site.url)
    visitor.wait_for_timeout(500)
    assert str(site.redis.xrange("events")).count(f'"{PAGE_VIEW}"') == 1
    assert "Content Security Policy" in str(complaints)


@pytest.mark.parametrize("block", BLOCKS["yaml"], ids=["a name", "a path"])
def test_the_settings_of_the_page_configure_the_proxy(tmp_path: Path, block: str) -> None:
    """nginx serves front under the name and the path, and setup knows the URL for the snippet."""
    settings = yaml.safe_load(block)
    prefix = settings.get("band_proxy_events_prefix", "")
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    (tmp_path / "play.yml").write_text(f"""
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: [{", ".join(f"{ROLES}/{name}/main.yml" for name in DEFAULTS)}, settings.json]
  tasks:
    - ansible.builtin.template:
        src: {ROLES}/proxy/templates/nginx.conf.j2
        dest: {tmp_path}/nginx.conf
      vars: {{with_tls: true}}
    - ansible.builtin.copy: {{content: "{{{{ band_public_url }}}}", dest: "{tmp_path}/url"}}
    - ansible.builtin.include_tasks: {ROLES}/proxy/tasks/validate.yml
""")
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", str(tmp_path / "play.yml")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (tmp_path / "nginx.conf").read_text()
    name = settings["band_proxy_events_names"][0]
    assert text.count(f"server_name {name};") == 2
    assert f"location {prefix}/ {{" in text and f"location {prefix}/_band {{ return 404; }}" in text
    assert f"proxy_pass http://127.0.0.1:10001{'/' if prefix else ''};" in text
    assert (tmp_path / "url").read_text() == f"https://{name}{prefix}"


def test_an_nginx_of_the_readers_own_says_what_ours_says() -> None:
    """It passes on the same headers, with a slash that takes the path away; nothing else of the visitor's counts."""
    (block,) = BLOCKS["nginx"]
    ours = (ROLES / "proxy" / "templates" / "nginx.conf.j2").read_text(encoding="utf-8")
    for name, value in re.findall(r"proxy_set_header (\S+) (\S+);", block):
        assert f"proxy_set_header {name} {'https' if value == '$scheme' else value};" in ours
    assert "location /t/ {" in block and "proxy_pass http://127.0.0.1:10001/;" in block
