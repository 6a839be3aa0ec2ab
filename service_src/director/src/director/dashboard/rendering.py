"""Templates to pages: one environment, everything escaped, and the headers that every page carries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from director import __version__
from director.dashboard import formatting
from director.dashboard.assets import Assets
from director.dashboard.pretty import pretty

THEME_COOKIE = "band_theme"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # `no-referrer` would have the login form say `Origin: null`, which the guard refuses.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Renderer:
    """Makes HTML of templates."""

    def __init__(self, assets: Assets, **common: Any) -> None:
        """`common` is known to every template."""
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(asset=assets.url, icon=icon, version=__version__, **common)
        self._environment.filters.update(
            clock=formatting.clock,
            count=formatting.count,
            duration=formatting.duration,
            mebibytes=formatting.mebibytes,
            level=formatting.level,
            milliseconds=formatting.milliseconds,
            percent=formatting.percent,
            pretty=pretty,
            stamp=formatting.stamp,
            without_stamp=formatting.without_stamp,
        )

    def macro(self, template: str, name: str) -> Callable[..., str]:
        """Return a macro of a template, to render a part of a page by itself."""
        found = getattr(self._environment.get_template(template).module, name)
        return lambda *values, **named: str(found(*values, **named)).strip()

    def html(self, template: str, **values: Any) -> str:
        """Return a template filled with values."""
        return self._environment.get_template(template).render(values)

    def page(self, request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """Return a whole page, in the theme that the browser remembers."""
        theme = request.cookies.get(THEME_COOKIE, "")
        theme = theme if theme in {"light", "dark"} else ""
        return answer(self.html(template, theme=theme, **values), status)


def icon(name: str, classes: str = "") -> Markup:
    """Return a picture of `icons.html`; the word beside it says the same, so it is hidden from screen readers."""
    return Markup('<svg class="icon {}" aria-hidden="true" focusable="false"><use href="#i-{}"></use></svg>').format(
        classes, name
    )


def answer(html: str, status: int = 200) -> web.Response:
    """Return HTML with the headers of every page."""
    return web.Response(text=html, status=status, content_type="text/html", headers=dict(_HEADERS))
