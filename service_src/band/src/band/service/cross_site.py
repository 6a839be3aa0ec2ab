"""Refuses requests of other sites' web pages: by Host, Origin, Sec-Fetch-Site, Referer and prefetch.

A service changes state on GET too, so no request of a foreign page may pass, whatever its method. The rules
are a pure function, :meth:`SitePolicy.refusal`; :func:`protect` applies them to an aiohttp application.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from band.calls.middleware import HTTP, Call, Middleware, Next

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
"""Names of this host that only its own programs reach."""
ANY_SITE: Final = "*"
_OWN_SITE = frozenset({"same-origin", "none"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?", re.IGNORECASE)

Header = Callable[[str], "str | None"]
"""Returns the value of a header by its name (``Host``, ``Sec-Fetch-Site`` …); None if the client did not send it."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusal(msgspec.Struct, frozen=True):
    """Why a request may not pass, and what to do."""

    reason: str
    hint: str


class SitePolicy(msgspec.Struct, frozen=True):
    """The rules for accepting requests.

    Attributes:
        hosts: the host names of this port, without ports; see :func:`host_names`.
        any_address: literal IP addresses are accepted too: DNS rebinding needs a name that a foreign server resolves.
        namespaced: ``<namespace>-<name>`` is accepted too, as in Docker's DNS; it has no dot.
        linkable: a link in a page of another site may open a read-only page: the other page cannot read it.
        origins: other sites whose pages may call (``https://app.example``), in lower case; ``*`` means all.
        owner: the service or program of the port, for messages.
        host_hint: how to add a name, for messages.
    """

    hosts: frozenset[str]
    any_address: bool = False
    namespaced: bool = False
    linkable: bool = False
    origins: frozenset[str] = frozenset()
    owner: str = "this service"
    host_hint: str = "the setting `allowed_hosts` adds a name"

    def refusal(self, header: Header, *, reads: bool = False, trusted: bool = False) -> Refusal | None:
        """Return why the request with these headers is refused, None if it is accepted.

        Args:
            header: reads a header; repeated ones are joined by a comma.
            reads: the request changes nothing, so a browser may also open it directly.
            trusted: the request has a secret in a header, which no page of another site can send.
        """
        host = header("Host") or ""
        if not self._is_own_name(hostname(host)):
            return Refusal(f"Host {host[:100]!r} is not one of {self.owner}'s names", self.host_hint)
        origin, site = header("Origin"), header("Sec-Fetch-Site")
        if _ahead_of_time(header) and not reads:
            return self._refuse("prefetch requests are refused")
        if self.allows_origin(origin):
            return None
        if origin is not None and _authority(origin) != host.lower():
            return self._refuse()
        referer = header("Referer")
        if referer is not None and self.allows_origin(_origin(referer)):
            return None
        if site is not None and site.lower() not in _OWN_SITE:
            return None if reads and self.linkable and origin is None and _opens_document(header) else self._refuse()
        if origin is not None or site is not None or trusted:
            return None
        # Browsers may send neither on a GET of a picture: Safari before 16.4, and all of them towards plain http beyond
        # loopback. Then the Referer decides, and read-only pages may be opened without one.
        if referer is not None and _authority(referer) != host.lower():
            return self._refuse()
        if referer is None and not reads and (header("User-Agent") or "").startswith("Mozilla/"):
            return self._refuse("the browser does not say which page this request comes from")
        return None

    def allows_origin(self, origin: str | None) -> bool:
        """Return whether pages of the other site ``origin`` may call."""
        return origin is not None and bool(self.origins) and not self.origins.isdisjoint({origin.lower(), ANY_SITE})

    def _is_own_name(self, name: str) -> bool:
        if name in self.hosts or (self.any_address and _is_address(name)):
            return True
        return self.namespaced and "." not in name and any(name.endswith(f"-{own}") for own in self.hosts)

    def _refuse(self, reason: str = "requests from pages of other sites are refused") -> Refusal:
        return Refusal(reason, f"open {self.owner}'s own page")


def reader(headers: Mapping[str, str]) -> Header:
    """Return the reader of aiohttp's headers, or of any mapping with the usual spelling.

    A header that came several times is read as one text with commas, which no rule takes for something of its own.
    """
    if not isinstance(headers, CIMultiDictProxy | CIMultiDict):
        return headers.get

    def read(name: str) -> str | None:
        found = headers.getall(name, None)
        return None if found is None else ", ".join(found)

    return read


def guard_other_sites(policy: Callable[[], SitePolicy], reads: Callable[[web.Request], bool]) -> Middleware:
    """Return the middleware that responds with 403 to requests that the policy refuses.

    Args:
        policy: called for each request.
        reads: returns whether a request changes nothing.
    """

    async def refuse_other_sites(call: Call, following: Next) -> Any:
        request: web.Request = call.request
        refusal = policy().refusal(reader(request.headers), reads=reads(request))
        if refusal is not None:
            return web.json_response({"message": f"{refusal.reason}; {refusal.hint}"}, status=403)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return web.Response()  # a preflight; its headers are in every response
        return await following(call)

    return refuse_other_sites


def protect(app: web.Application, policy: Callable[[], SitePolicy], reads: Callable[[web.Request], bool]) -> None:
    """Make ``app`` respond with 403 to refused requests, and send CORS headers to allowed origins.

    The guard is a middleware of the hook ``(call, following)``, the outermost one of HTTP. It is asked here, once for
    every request, and not in the chain of the exposed functions: the port also has pages without a function
    (``/health``, ``/metrics``, ``/openapi.json``, routes of ``dome``), to which the same rule applies.

    Args:
        app: gets a middleware, before its others, and a signal.
        policy: called for each request.
        reads: returns whether a request changes nothing.
    """

    guard = guard_other_sites(policy, reads)

    @web.middleware
    async def every_request(request: web.Request, handler: Handler) -> web.StreamResponse:
        async def last(_call: Call) -> web.StreamResponse:
            return await handler(request)

        answer: web.StreamResponse = await guard(Call(HTTP, None, request=request), last)
        return answer

    async def add_cors(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(cors_headers(policy(), request.headers.get("Origin")))

    app.middlewares.insert(0, every_request)
    app.on_response_prepare.append(add_cors)


def cors_headers(policy: SitePolicy, origin: str | None) -> dict[str, str]:
    """Return the headers that let a page of an allowed origin read the response; none for all others."""
    if origin is None or not policy.allows_origin(origin):
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
        "Access-Control-Allow-Headers": "Content-Type, Authorization, Accept",
        "Vary": "Origin",
    }


def hostname(host: str) -> str:
    """Return the name in a Host header without its port, in lower case; empty if it is invalid."""
    match = _HOST.fullmatch(host)
    return match["name"].lower().strip("[]").rstrip(".") if match else ""


def is_origin(text: str) -> bool:
    """Return whether ``text``, in lower case, is a valid origin of a policy: ``https://app.example`` or ``*``."""
    scheme, _, authority = text.partition("://")
    return text == ANY_SITE or (scheme in {"http", "https"} and bool(hostname(authority)))


def host_names(*groups: Iterable[str]) -> frozenset[str]:
    """Return the names to accept: loopback and all those given, with or without a port."""
    return frozenset({*LOOPBACK, *(hostname(name) for group in groups for name in group)} - {""})


def service_policy(name: str, *, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> SitePolicy:
    """Return the policy of a service's own port: its name, its host's name, any address, and what the settings add."""
    return SitePolicy(
        host_names([name, socket.gethostname()], hosts), any_address=True, namespaced=True, linkable=True,
        origins=frozenset(origins), owner=name,
    )  # fmt: skip


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _ahead_of_time(header: Header) -> bool:
    """Return whether a browser fetches this speculatively, as it does while an address is typed."""
    words = (header(name) or "" for name in ("Sec-Purpose", "Purpose", "X-Moz", "X-Purpose"))
    return any("prefetch" in word.lower() or "preview" in word.lower() for word in words)


def _opens_document(header: Header) -> bool:
    """Return whether a browser opens this as a page, not in a frame, as a picture or a script."""
    return header("Sec-Fetch-Mode") == "navigate" and header("Sec-Fetch-Dest") == "document"


def _authority(url: str) -> str:
    """Return host and port of an Origin or Referer, in lower case; empty if it has none."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _origin(url: str) -> str:
    """Return ``scheme://host:port`` of a Referer, in lower case."""
    return f"{url.partition('://')[0].lower()}://{_authority(url)}"
