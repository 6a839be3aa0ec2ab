"""Templates to pages, and the page's files: everything escaped, and the headers that every page carries."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from band.platform import UNSHOWABLE
from director import __version__
from director.dashboard import formatting
from director.errors import NotFound

FOLDER = Path(__file__).parent / "static"
PREFIX = "/dashboard/static/"
_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_ASSET_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
FILTERS = (
    "clock", "count", "duration", "mebibytes", "level", "milliseconds", "percent", "pretty", "release_tone", "stamp",
    "without_stamp",
)  # fmt: skip
_REPLACED = dict.fromkeys(UNSHOWABLE, "�")
_UNSHOWABLE = re.compile(f"[{''.join(map(chr, sorted(UNSHOWABLE)))}]")
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


class Assets:
    """The files in memory; one hash for all, so that scripts import each other by relative names."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files: Mapping[str, bytes] = {
            path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in _KINDS
        }
        whole = hashlib.sha256()
        for name, content in self._files.items():
            whole.update(f"{name}\0{len(content)}\0".encode() + content)
        self._hash = whole.hexdigest()[:16]

    def url(self, name: str) -> str:
        """Return the address of a file; raises KeyError when there is none of that name."""
        self._files[name]
        return f"{PREFIX}{self._hash}/{name}"

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PREFIX + "{hash}/{name}", self.handle)]

    async def handle(self, request: web.Request) -> web.Response:
        """Serve a file; the address of another version is not found, so nothing wrong is kept for a year."""
        name = request.match_info["name"]
        content = self._files.get(name)
        if content is None or request.match_info["hash"] != self._hash:
            raise NotFound(f"file {name[:80]!r} is not part of this version", "reload the page")
        return web.Response(
            body=content, content_type=_KINDS[Path(name).suffix], charset="utf-8", headers=dict(_ASSET_HEADERS)
        )


class Renderer:
    """Makes HTML of templates."""

    def __init__(self, assets: Assets, **common: Any) -> None:
        """`common` is known to every template."""
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            finalize=_shown,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(asset=assets.url, icon=icon, version=__version__, **common)
        self._environment.filters.update({name: getattr(formatting, name) for name in FILTERS})

    def macro(self, template: str, name: str) -> Callable[..., str]:
        """Return a macro of a template, to render a part of a page by itself."""
        found = getattr(self._environment.get_template(template).module, name)
        return lambda *values, **named: str(found(*values, **named)).strip()

    def html(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(values)

    def page(self, request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
        """Return a whole page, in the theme that the browser remembers."""
        theme = request.cookies.get(THEME_COOKIE, "")
        theme = theme if theme in {"light", "dark"} else ""
        return answer(self.html(template, theme=theme, **values), status)


def _shown(value: Any) -> Any:
    """Return what stands in a page for a value: services and folders cannot hide or turn around text there."""
    return value.translate(_REPLACED) if isinstance(value, str) and _UNSHOWABLE.search(value) else value


def icon(name: str, classes: str = "") -> Markup:
    """Return a picture of `icons.html`; the word beside it says the same, so it is hidden from screen readers."""
    return Markup('<svg class="icon {}" aria-hidden="true" focusable="false"><use href="#i-{}"></use></svg>').format(
        classes, name
    )


def answer(html: str, status: int = 200) -> web.Response:
    """Return HTML with the headers of every page."""
    return web.Response(text=html, status=status, content_type="text/html", headers=dict(_HEADERS))
