"""`python -m mixpanel_double`: a service of the platform where there is a Redis, else a plain web server.

Alone it listens on 127.0.0.1:8080 (`HOST`, `PORT`) and needs nothing.
"""

import os

from aiohttp import web


def run() -> None:
    """Start the one or the other."""
    if os.environ.get("REDIS_DSN"):
        from band import settings, start_server
        from mixpanel_double.main import service

        start_server(service, **settings)
        return
    from mixpanel_double.app import make_app

    web.run_app(make_app(), host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8080")))


run()
