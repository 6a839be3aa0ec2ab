"""``python -m sxgeo`` starts the service."""

from __future__ import annotations

from band import settings, start_server
from sxgeo import service as service

start_server(**settings)
