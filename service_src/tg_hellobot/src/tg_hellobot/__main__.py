"""`python -m tg_hellobot` starts the service."""

from band import settings, start_server
from tg_hellobot import main

__all__ = ["main"]

start_server(**settings)
