"""The login of the dashboard: exchange the token for a session cookie. Guesses are slowed down."""

from __future__ import annotations

import hmac
import time
from urllib.parse import urlsplit

from aiohttp import web

from director.api.security import COOKIE, LIFETIME, end_session, issue_session, session_cookie
from director.api.server import LOGIN, read_body
from director.api.throttle import TokenThrottle
from director.api.websocket import close_sockets
from director.dashboard.rendering import Renderer
from director.errors import TooManyGuesses


class Login:
    """The login page. Without a `token` there is no login, and everybody is redirected."""

    def __init__(self, token: str | None, renderer: Renderer, guesses: TokenThrottle) -> None:
        self._token = token
        self._renderer = renderer
        self._guesses = guesses

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(LOGIN, self.show, allow_head=False),
            web.post(LOGIN, self.enter),
            web.post("/dashboard/logout", self.leave),
        ]

    async def show(self, request: web.Request) -> web.StreamResponse:
        if self._token is None:
            raise web.HTTPSeeOther("/")
        return self._page(request, "", _own(request.query.get("next", "/")))

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """Take the token: a cookie and on to the page, or the form again."""
        if self._token is None:
            raise web.HTTPSeeOther("/")
        form = await read_body(request)
        given, after = form.get("token"), _own(str(form.get("next") or "/"))
        if not isinstance(given, str) or not self._right(given):
            return await self._refuse(request, after)
        answer = web.Response(status=303, headers={"Location": after, "Cache-Control": "no-store"})
        answer.set_cookie(
            COOKIE,
            issue_session(self._token, time.time()),
            max_age=LIFETIME,
            httponly=True,
            samesite="Strict",
            secure=_encrypted(request),
            path="/",
        )
        return answer

    async def _refuse(self, request: web.Request, after: str) -> web.StreamResponse:
        try:
            await self._guesses.wrong(request.remote)
        except TooManyGuesses as error:
            page = self._page(request, f"Too many wrong tokens; {error.hint}.", after, error.status)
            page.headers["Retry-After"] = str(error.retry_after)
            return page
        return self._page(request, "Wrong token.", after, 403)

    async def leave(self, request: web.Request) -> web.StreamResponse:
        session = session_cookie(request.headers)
        end_session(session, self._token or "", time.time())
        close_sockets(session)
        answer = web.Response(status=303, headers={"Location": LOGIN, "Cache-Control": "no-store"})
        answer.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict")
        return answer

    def _right(self, given: str) -> bool:
        right = (self._token or "").encode()
        return hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), right)

    def _page(self, request: web.Request, error: str, after: str, status: int = 200) -> web.Response:
        return self._renderer.page(request, "login.html", status=status, error=error, next=after, inside=False)


def _own(path: str) -> str:
    """Return a path of this director to redirect to; anything else becomes `/`."""
    parts = urlsplit(path)
    plain = path.isascii() and path.isprintable() and "\\" not in path
    return path if plain and path.startswith("/") and not path.startswith("//") and not parts.netloc else "/"


def _encrypted(request: web.Request) -> bool:
    """Return whether the browser uses TLS to us or to the proxy; a forged header only affects its sender's cookie."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "") == "https"
