"""The page's files (scripts, style, icon) under an address that holds their hash, so that they never go stale."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from director.errors import NotFound

FOLDER = Path(__file__).parent / "static"
PREFIX = "/dashboard/static/"
_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}


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
        """Return the address of a file.

        Raises:
            KeyError: there is no such file.
        """
        self._files[name]
        return f"{PREFIX}{self._hash}/{name}"

    def routes(self) -> list[web.RouteDef]:
        """Return the one route that serves the files."""
        return [web.get(PREFIX + "{hash}/{name}", self.handle)]

    async def handle(self, request: web.Request) -> web.Response:
        """Serve a file; the address of another version is not found, so nothing wrong is kept for a year."""
        name = request.match_info["name"]
        content = self._files.get(name)
        if content is None or request.match_info["hash"] != self._hash:
            raise NotFound(f"there is no file {name[:80]!r} of this version", "load the page anew")
        return web.Response(
            body=content, content_type=_KINDS[Path(name).suffix], charset="utf-8", headers=dict(_HEADERS)
        )
