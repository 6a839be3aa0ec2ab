"""Downloads with finite time-outs, conditional requests, and credentials that never leave their own origin."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from band.platform import mask_text
from geo.dataset.errors import QuotaReached, SourceError, SourceNotFound
from geo.dataset.state import Validator

CONNECT_TIMEOUT = 6.0
"""Seconds to reach a host; short, because the next source of the list waits."""
READ_TIMEOUT = 30.0
TOTAL_TIMEOUT = 900.0
MAX_BYTES = 2 << 30
MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHUNK = 1 << 18
_MAX_ERROR_BYTES = 1 << 16
_MAX_SHOWN = 200


class Answer(msgspec.Struct):
    """A downloaded file: its path, its SHA-256, and the validator of the next conditional request."""

    path: Path
    sha256: str
    validator: Validator


def ssl_context() -> ssl.SSLContext:
    """Return a context that trusts the system's roots and the CA bundles that pip and requests are told to trust."""
    context = ssl.create_default_context()
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE"):
        bundle = os.environ.get(name, "")
        if bundle and Path(bundle).is_file():
            context.load_verify_locations(cafile=bundle)
    return context


class Http:
    """An HTTP client for one round of requests; use it with ``async with``.

    ``received`` and ``expected`` are the bytes of the current download: so far, and in all (None if unknown).
    """

    def __init__(
        self, connect: float = CONNECT_TIMEOUT, read: float = READ_TIMEOUT, total: float = TOTAL_TIMEOUT
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=total, connect=connect, sock_connect=connect, sock_read=read)
        self._session: aiohttp.ClientSession | None = None
        self.received = 0
        self.expected: int | None = None

    async def __aenter__(self) -> Http:
        connector = aiohttp.TCPConnector(ssl=await asyncio.to_thread(ssl_context), limit=4)
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, connector=connector, trust_env=True, headers={"User-Agent": "rockstat-band"},
            trace_configs=[_redirects()],
        )  # fmt: skip
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def json(self, url: str, *, authorization: str = "") -> Any:
        """GET a JSON document.

        Raises:
            SourceError: no answer, an error status, or no JSON.
        """
        async with self._open(url, {"Accept": "application/json"}, authorization) as response:
            kind, text = response.content_type, await response.text()
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise SourceError(f"{safe_url(url)} answered {kind} that is not JSON: {error}") from error

    async def download(
        self,
        url: str,
        into: Path,
        *,
        last: Validator | None = None,
        authorization: str = "",
    ) -> Answer | None:
        """GET a file into ``into``; None when the server says that ``last`` is still the newest.

        Args:
            url: http or https; user and password in it become basic authentication.
            into: the file to write.
            last: the validator of the last response.
            authorization: a header value, sent to the origin of ``url`` only, never to where it redirects.

        Raises:
            SourceError: no answer, an error status, or a body that stopped half-way.
        """
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if last and last.etag:
            headers["If-None-Match"] = last.etag
        if last and last.last_modified:
            headers["If-Modified-Since"] = last.last_modified
        async with self._open(url, headers, authorization) as response:
            if response.status == 304:
                return None
            digest = await self._write(response, into)
            found = Validator(response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
        return Answer(into, digest, found)

    async def _write(self, response: aiohttp.ClientResponse, into: Path) -> str:
        digest, self.received = hashlib.sha256(), 0
        self.expected = None if "Content-Encoding" in response.headers else response.content_length
        with into.open("wb") as file:
            async for chunk in response.content.iter_chunked(_CHUNK):
                self.received += len(chunk)
                if self.received > MAX_BYTES:
                    raise SourceError(f"{safe_url(str(response.url))} sends more than {MAX_BYTES >> 20} MiB; refused")
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    @asynccontextmanager
    async def _open(
        self, url: str, headers: Mapping[str, str], authorization: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Ask, and follow redirects; aiohttp sends Authorization to the origin of ``url`` only."""
        if self._session is None:
            raise RuntimeError("Http is used outside of `async with`")
        here = _absolute(url)
        sent = {**headers, "Authorization": authorization} if authorization else headers
        asked = here.with_user(None) if authorization else here
        try:
            async with self._session.get(asked, headers=sent, max_redirects=MAX_REDIRECTS + 1) as response:
                await _refuse_errors(response)
                yield response
        except aiohttp.TooManyRedirects as error:
            raise SourceError(f"{safe_url(url)} redirects more than {MAX_REDIRECTS} times") from error
        except aiohttp.InvalidURL as error:  # its text is that URL, in which secrets may travel
            raise SourceError(f"{safe_url(url)} redirects to an invalid URL") from error
        except TimeoutError as error:
            raise SourceError(f"{safe_url(url)} did not answer in time; is this host allowed to reach it?") from error
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise SourceError(f"{safe_url(url)} could not be read: {reason}") from error


def safe_url(url: str) -> str:
    """Return the URL without user, password, query and fragment, in which secrets travel."""
    parsed = URL(url)
    return str(parsed.with_user(None).with_query(None).with_fragment(None)) if parsed.absolute else str(parsed.path)


def basic(user: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _absolute(url: str) -> URL:
    try:
        found = URL(url)
    except ValueError:
        found = URL()
    if found.scheme not in ("http", "https") or not found.host:
        # No part of it is told: a misspelt one may have its password anywhere.
        raise SourceError("the configured URL does not begin with http:// or https:// and a host; correct it")
    return found


def _redirects() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_refuse_downgrade)
    return trace


async def _refuse_downgrade(_session: object, _context: object, hop: aiohttp.TraceRequestRedirectParams) -> None:
    """Refuse to follow a redirect from https to http, before anything is sent there."""
    headers, here = hop.response.headers, hop.response.url
    with suppress(ValueError):  # aiohttp refuses what is no URL
        target = URL(headers.get("Location") or headers.get("URI") or "")
        if here.scheme == "https" and target.scheme == "http":
            hop.response.close()
            raise SourceError(f"{safe_url(str(here))} redirects from https to http; refused")


async def _refuse_errors(response: aiohttp.ClientResponse) -> None:
    status, where = response.status, safe_url(str(response.url))
    if status in _REDIRECTS:
        raise SourceError(f"{where} redirects without a location")
    if status < 400:
        return
    body = (await response.content.read(_MAX_ERROR_BYTES)).decode("utf-8", "replace")
    said = mask_text(body).strip()[:_MAX_SHOWN]  # half of a secret would not be known as one any more
    text = f"{where} answered {status} {response.reason or ''}".rstrip() + (f": {said}" if said else "")
    if status in (404, 410):
        raise SourceNotFound(text)
    if status == 429:
        raise QuotaReached(text)
    if status in (401, 403):
        raise SourceError(f"{text}; check the account and its key")
    raise SourceError(text)
