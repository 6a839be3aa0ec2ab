"""`python -m store` starts the service."""

from band import SettingsError, settings, start_server
from store.main import make_service
from store.options import read_options

try:
    options = read_options(settings)
except SettingsError as error:
    raise SystemExit(f"store: {error}") from None
start_server(make_service(options), **settings)
