"""`python -m send_mixpanel` starts the service."""

from band import settings, start_server
from send_mixpanel import main

__all__ = ["main"]

start_server(**settings)
