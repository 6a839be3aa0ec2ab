"""band_support: a bundle without secrets."""

from __future__ import annotations

import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ansible_modules import run


def test_a_support_bundle_shows_no_secret_of_a_service(tmp_path: Path) -> None:
    """By its name as the director knows it, or declared in band.yml: hidden in the environment and in every log."""
    labels = {"band.kind": "service", "band.spec": json.dumps({"name": "x", "secrets": ["MOTTO"]})}
    env = ["MYPASS=first-canary", "MOTTO=second canary", "NOTE=third-canary", "PORT=8080"]
    core = {"Name": "/director", "Config": {"Env": ["BAND_PORTS=8900-8999"], "Labels": {"band.kind": "core"}}}
    inspected = json.dumps([{"Name": "/x", "Config": {"Env": env, "Labels": labels}}, core])
    (tmp_path / "docker").write_text(
        f"#!/bin/sh\n[ $1$2 = containerls ] && echo id; [ $1$2 = containerinspect ] && echo '{inspected}'\n"
        '[ $1 = logs ] && echo "with first-canary, second+canary second%20canary second canary"\nexit 0\n'
    )
    (tmp_path / "docker").chmod(0o755)
    dest, settings = tmp_path / "bundle.tar.gz", {"band_services": [{"name": "y", "env": {"MOTTO": "third-canary"}}]}
    args = {"dest": str(dest), "home": str(tmp_path), "settings": settings, "url": "http://127.0.0.1:1"}
    assert "containers.json" in run("band_support", args, path=tmp_path)["names"]
    with tarfile.open(dest) as tar:
        texts = {entry.name.split("/", 1)[1]: tar.extractfile(entry).read().decode() for entry in tar}  # type: ignore[union-attr]
    assert "with [redacted], " in texts["logs/x.log"]
    for word in ("first-canary", "second canary", "second%20canary", "second+canary", "third-canary"):
        assert word not in "".join(texts.values()), word
    assert "MYPASS=" in texts["containers.json"]
    assert "BAND_PORTS=8900-8999" in texts["containers.json"]


def test_a_director_with_a_token_is_asked_with_the_one_on_the_host(tmp_path: Path) -> None:
    """An inventory may not have it. One that it has comes first; without an answer there is a warning."""
    asked: list[str] = []

    class Guarded(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "director.token").write_text("token-of-the-host\n")
    args = {"dest": str(tmp_path / "b.tar.gz"), "home": str(tmp_path), "url": f"http://127.0.0.1:{server.server_port}"}
    said = run("band_support", args, path=tmp_path)
    assert "director/state.json" in said["names"]
    assert set(asked) == {"Bearer token-of-the-host"}
    run("band_support", {**args, "token": "token-given-here"}, path=tmp_path)
    assert asked[-1] == "Bearer token-given-here"
    server.shutdown()
    server.server_close()
    said = run("band_support", args, path=tmp_path)
    assert "lacks states of the director" in str(said["warnings"])
