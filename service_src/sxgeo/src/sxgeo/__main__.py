"""``python -m sxgeo`` starts the service."""

from __future__ import annotations

from band import settings, start_server
from sxgeo.service import service

start_server(service, **settings)
