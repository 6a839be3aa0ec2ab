"""The client of the director's API: what it says in this command's words, and how long it waits."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from band_cli import client
from band_cli.cli import band as command
from band_cli.client import Director, in_our_words
from band_cli.target import Target


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        ("GET /list lists the services; GET /run/x runs one", "band ps lists the services; band run x runs one"),
        ("GET /list_images lists the folders", "the director's /list_images lists the folders"),
        ("see GET /health", "see band status"),
        ("GET /logs/x?follow=1, then GET /restart/x.", "band logs x -f, then band restart x."),
        ("GET /rm/x forgets it", "band rm x forgets it"),
        ("GET /releases/x shows them", "band releases x shows them"),
        ("GET /rollback/x?to= takes one of: a", "band rollback x --to takes one of: a"),
        ("a release's id, as GET /releases/<name> shows it", "a release's id, as band releases <name> shows it"),
        ("GET /dead_letters/x shows them", "band call x dead_letters shows them"),
        ("GET /show tells how it is; timeout__ gives it longer", "band ps tells how it is; --timeout gives it longer"),
        ("GET /ask_state/x tells", "the director's /ask_state/x tells"),
        ("GET /openapi.json?service=x describes", "the director's /openapi.json?service=x describes"),
        ("BAND_ALLOWED_HOSTS adds a name", "BAND_ALLOWED_HOSTS adds a name"),
    ],
)  # fmt: skip
def test_a_hint_names_what_to_type(hint: str, said: str) -> None:
    """Paths of the API become verbs; where there is none, it is the director's path."""
    assert in_our_words(hint) == said


def test_the_verbs_of_hints_are_verbs_and_paths_of_the_director(director: Any) -> None:
    """The table names no verb and no path that is gone, and misses no path that has a verb of its name."""
    paths = {path.split("/")[1] for path in director.get("/openapi.json")[1]["paths"]}
    assert set(client.VERBS) <= paths
    assert {words.split()[1] for words in client.VERBS.values()} <= set(command.commands)
    assert set(command.commands) & paths <= set(client.VERBS)


def test_following_a_quiet_service_has_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that come later than a response may take are shown all the same."""
    monkeypatch.setattr(client, "LONG_TIMEOUT", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfirst\n")
                time.sleep(2.5)
                peer.sendall(b"second\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            assert list(Director(Target(url)).lines("/logs/x", {"follow": "1"}, follow=True)) == ["first", "second"]
        finally:
            thread.join(30)
