"""`python -m uaparser` starts the service."""

from band import settings, start_server
from uaparser.main import service

start_server(service, **settings)
