"""`python -m send_mixpanel` starts the service."""

from band import SettingsError, settings, start_server
from send_mixpanel.main import make_service
from send_mixpanel.options import read_options

try:
    options = read_options(settings)
except SettingsError as error:
    raise SystemExit(f"send_mixpanel: {error}") from None
start_server(make_service(options), **settings)
