"""`python -m uaparser` starts the service."""

from band import settings, start_server
from uaparser import main

__all__ = ["main"]

start_server(**settings)
