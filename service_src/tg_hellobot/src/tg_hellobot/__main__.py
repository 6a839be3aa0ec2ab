"""`python -m tg_hellobot` starts the service."""

from band import settings, start_server
from tg_hellobot.main import service

start_server(service, **settings)
