"""Start it."""

import ledger.service  # noqa: F401 - says what it offers
from band import settings, start_server

start_server(**settings)
