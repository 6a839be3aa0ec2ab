"""The pages of front itself: the index page, the icon, the demo, the teapot, the browser SDK."""

from __future__ import annotations

import gzip
import re
from functools import cache
from hashlib import sha256
from html import escape
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit

from band.platform import encode
from front.event.client_address import ClientAddresses
from front.event.hostnames import host_of
from front.http1.request import Request
from front.intake.admin_pages import AdminPages
from front.pipeline.replies import JSON, HttpReply

_PLACEHOLDER: Final = "https://THIS-HOST"
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")

PAGES: Final = frozenset({"/", "/favicon.ico", "/coffee"})
DEMO: Final = "/demo"
"""It names no event, so it is none's path; `/demo/<name>` is."""
HTML: Final = "text/html; charset=utf-8"
SDK: Final = "/lib.js"
VISITOR: Final = "uid"
"""The `part` that is no file: who the visitor is."""
_SDK_FILES: Final = {"": "lib.js", "more": "lib-more.js"}
_SDK_MAX_AGE: Final = 3600
"""Seconds for which browsers and proxies may keep a file of the SDK without asking."""


class Pages:
    """Serves the pages for people; what operators see of them depends on where they come from."""

    def __init__(self, public_url: str, demo: str, addresses: ClientAddresses, admin: AdminPages) -> None:
        """`public_url` is how visitors' browsers call this host, empty if that is not known; `demo` says who sees
        that page: `near` (this host and its containers), `public` or `off`.
        """
        self._public_url = public_url
        self._public_host = _host_of(public_url)
        self._demo = demo
        self._addresses = addresses
        self._admin = admin

    def page(self, path: str, request: Request) -> HttpReply | None:
        """Return the page for a path, or None when the path is an event's."""
        if path == "/":
            return self._index(request)
        if path == "/favicon.ico":
            return HttpReply(200, _file("favicon.ico"), "image/x-icon")
        if path == "/coffee":
            return HttpReply(418, b'{"message":"I\'m a teapot"}', JSON, [("X-My-Name", "front")])
        return None

    def demo(self, path: str, request: Request) -> HttpReply | None:
        """Return the demo page; None for another path, and for those who may not see it.

        It is asked for only after a request turned out to be no event's.
        """
        if path.rstrip("/") != DEMO or request.method != "GET":
            return None
        if not self._shows_demo(near=self._admin.is_near(request)):
            return None
        snippet = _snippet(self.server(request))
        text = _file("demo.html").decode().replace("{{SNIPPET}}", snippet).replace("{{SHOWN}}", escape(snippet))
        return HttpReply(200, text.encode(), HTML)

    def _index(self, request: Request) -> HttpReply:
        server, near = self.server(request), self._admin.is_near(request)
        if self._public_url and not _host_of(server):
            server = self._public_url
        text = _file("index.html").decode()
        for name, shown in (("NEAR", near), ("DEMO", self._shows_demo(near=near)), ("LOCAL", not _host_of(server))):
            text = re.sub(rf"{{{{{name}}}}}(.*?){{{{/{name}}}}}", r"\1" if shown else "", text, flags=re.DOTALL)
        text = text.replace("{{SHOWN}}", escape(_snippet(server))).replace("{{ADMIN}}", self._admin.prefix.lstrip("/"))
        return HttpReply(200, text.encode(), HTML)

    def server(self, request: Request) -> str:
        """Return the URL of this server as the client calls it, with the path under which a proxy serves it."""
        server = server_of(request, self._addresses)
        return self._public_url if self._public_host and _host_of(server) == self._public_host else server

    def _shows_demo(self, *, near: bool) -> bool:
        return self._demo == "public" or (self._demo == "near" and near)


def _host_of(url: str) -> str:
    return host_of(urlsplit(url).netloc)


def _snippet(server: str) -> str:
    """Return what goes into a page of a site; without a `server` its place is marked."""
    return _file("snippet.html").decode().replace(_PLACEHOLDER, server or _PLACEHOLDER)


@cache
def _file(name: str) -> bytes:
    return (resources.files("front") / "static" / name).read_bytes()


def server_of(request: Request, addresses: ClientAddresses) -> str:
    """Return the URL of this server as the client calls it; empty if it gives no valid name."""
    trusted = addresses.trusts(request.peer)
    host = (trusted and request.header(b"x-forwarded-host")) or request.header(b"host") or ""
    return server_url(host, request.header(b"x-forwarded-proto") if trusted else None)


def server_url(host: str, scheme: str | None) -> str:
    """Return the URL of a server from the requested `host` (`name:port`); empty if that is not a host.

    Without a `scheme` from a proxy it is https for a public name, http for a port, an address or a local name.
    """
    host = host.split(",", 1)[0].strip()
    if not _AUTHORITY.fullmatch(host):
        return ""
    if scheme not in ("http", "https"):
        scheme = "https" if host_of(host) == host.lower() else "http"
    return f"{scheme}://{host}"


def sdk_file(part: Any, request: Request, *, shared: bool) -> HttpReply:
    """Return a file of the SDK, or 304 to a client that has it. A part that is none is the SDK itself."""
    name = _SDK_FILES.get(part, _SDK_FILES[""]) if isinstance(part, str) else _SDK_FILES[""]
    packed = "gzip" in (request.header(b"accept-encoding") or "")
    body, tag = _sdk(name, packed=packed)
    headers = [("Vary", "Accept-Encoding"), ("X-Content-Type-Options", "nosniff")]
    if shared:
        headers += [("Cache-Control", f"public, max-age={_SDK_MAX_AGE}"), ("ETag", tag)]
        headers.append(("Cross-Origin-Resource-Policy", "cross-origin"))
        if tag in (request.header(b"if-none-match") or ""):
            return HttpReply(304, b"", None, headers, shared)
    if packed:
        headers.append(("Content-Encoding", "gzip"))
    return HttpReply(200, body, "application/javascript; charset=utf-8", headers, shared)


@cache
def _sdk(name: str, *, packed: bool) -> tuple[bytes, str]:
    body = _file(name)
    tag = sha256(body).hexdigest()[:16]
    return (gzip.compress(body, 9, mtime=0), f'"{tag}-gz"') if packed else (body, f'"{tag}"')


def visitor(uid: str, *, consent: str) -> HttpReply:
    """Return who the visitor is (empty: the page may not know), and the consent mode of the project."""
    return HttpReply(200, encode({"uid": uid, "consent": consent}), JSON)
