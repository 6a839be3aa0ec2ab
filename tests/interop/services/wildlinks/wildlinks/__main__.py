from band import settings, start_server

from . import main  # noqa: F401

start_server(**settings)
