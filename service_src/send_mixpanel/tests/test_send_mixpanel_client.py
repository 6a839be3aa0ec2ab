"""What the client says when there is no answer: the thing that really did not happen."""

import asyncio
import contextlib
import socket
import time
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from band.typed_settings import Secret
from send_mixpanel.client import Client
from send_mixpanel.options import Project
from send_mixpanel.stage import Stage
from send_mixpanel.verdict import Meaning, Verdict


class SilentDns(AbstractResolver):
    """Answers nothing."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        await asyncio.Event().wait()
        return []

    async def close(self) -> None:
        """There is nothing to close."""


class EmptyDns(SilentDns):
    """Knows no name."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        raise OSError(None, "Name or service not known")


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the host that tests run on would look up names in our place."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def post(url: str, resolver: AbstractResolver | None = None, timeout: float = 0.2) -> Verdict:
    client = Client(timeout, resolver)
    try:
        return await client.post(Project("default", url, Secret("Basic c2VjcmV0"), "token"), [])
    finally:
        await client.close()


async def test_send_mixpanel_says_that_dns_is_silent() -> None:
    """A name server that does not answer is not "no answer from Mixpanel"."""
    verdict = await post("http://mixpanel.example", SilentDns())
    assert verdict.meaning is Meaning.LATER
    assert verdict.reason == "DNS did not resolve mixpanel.example within 0.2 s"


async def test_send_mixpanel_says_at_once_that_a_name_is_unknown() -> None:
    """No waiting, the system's words, the host's name, and nothing secret."""
    began = time.monotonic()
    verdict = await post("http://mixpanel.example", EmptyDns(), timeout=30)
    assert time.monotonic() - began < 1
    assert "mixpanel.example" in verdict.reason
    assert "Name or service not known" in verdict.reason
    assert "c2VjcmV0" not in verdict.reason


async def test_send_mixpanel_says_that_there_was_no_answer() -> None:
    """Connected, then silence: the time limit of the whole request, also on a connection that is used again."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000_000)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        verdict = await post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert verdict.reason == "no answer within 0.2 s"


async def test_send_mixpanel_reads_no_endless_answer() -> None:
    """Whoever answers without an end is not Mixpanel: after 4 MB the connection is closed, and memory stays."""
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.read(1_000_000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 100_000)
                await writer.drain()
                sent += 100_000
        writer.close()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    async with server:
        verdict = await post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=10)
        await asyncio.sleep(0.1)
    assert (verdict.meaning, verdict.status) == (Meaning.ADDRESS, 200)
    assert 4_000_000 < sent < 40_000_000


async def test_send_mixpanel_follows_no_redirect() -> None:
    """Credentials and events go to the address of the settings and nowhere else."""

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000_000)
        writer.write(b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/import\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    async with server:
        verdict = await post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=5)
    assert (verdict.meaning, verdict.status) == (Meaning.ADDRESS, 307)


@pytest.mark.parametrize("url", ["http://a..b.example", f"http://{'a' * 70}.example", "http://[::1", "http://a:99999"])
async def test_send_mixpanel_names_an_address_that_is_none(url: str) -> None:
    """Also one that only the name look-up finds fault with: trouble in health, not an error that nobody sees."""
    verdict = await post(url)
    assert (verdict.meaning, verdict.text) == (Meaning.ADDRESS, "MIXPANEL_URL is not a valid URL")


async def test_send_mixpanel_says_that_there_was_no_connection() -> None:
    """The name is known, nobody takes the connection: the time limit of connecting, not that of the answer."""
    stage = Stage(10.0, 30.0)
    assert stage.missed == "no connection within 10 s"
    stage.look_up("mixpanel.example")
    stage.found()
    assert stage.missed == "no connection within 10 s"
    stage.connect()
    assert stage.missed == "no answer within 30 s"


def test_send_mixpanel_connect_timeouts_are_timeouts() -> None:
    """aiohttp's error for a connection that takes too long is a TimeoutError, which the client counts on."""
    kinds: tuple[Any, ...] = (aiohttp.ConnectionTimeoutError, aiohttp.SocketTimeoutError)
    assert all(issubclass(kind, TimeoutError) for kind in kinds)
