"""`python -m director`: reads the environment (and `.env`), makes sure it may listen, runs until SIGTERM."""

from __future__ import annotations

import sys

from band import environ, logger, loop, start_server
from band.platform import configure_logs
from director.app import Director, server_settings
from director.engine.docker import DockerEngine
from director.engine.interface import OwnContainer
from director.errors import ConfigError
from director.settings import DirectorSettings
from director.startup import find_self


def main() -> None:
    """Start the director; exit status 78 when its settings are impossible."""
    try:
        settings = DirectorSettings.read(environ)
        configure_logs(settings.log_level, as_json=settings.json_logs.lower() in {"1", "true", "yes", "on"})
        for name in settings.unknown:
            logger.warning("setting_unknown", variable=name, hint="docs/director.md lists the settings")
        engine = DockerEngine(settings.namespace, settings.docker_url)
        own = loop.run_until_complete(_look_around(engine, settings))
    except ConfigError as error:
        sys.stderr.write(f"director: {error.message}\n")
        raise SystemExit(78) from None
    Director(settings, engine, own).install()
    start_server(**server_settings(settings))


async def _look_around(engine: DockerEngine, settings: DirectorSettings) -> OwnContainer | None:
    try:
        return await find_self(engine, settings)
    except BaseException:
        await engine.close()
        raise


if __name__ == "__main__":
    main()
