"""band: services of a small event platform.

A service is a folder with a ``config.yaml`` and a package whose functions are exposed::

    from band import Service, settings, start_server

    service = Service()

    @service.expose.enricher(keys=["in.gen.track"], props={"ip": "td.ip"})
    async def enrich(ip: str = "") -> dict[str, int]:
        return {"length": len(ip)}

    start_server(service, **settings)

``from band import expose`` and the like are the short way: attributes of the process's own service. Services of the
original platform import them.

The names are resolved at first use, so that importing one costs only that one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from aiohttp import web
    from msgspec import Meta

    from band.calls.event import Event
    from band.calls.middleware import Call, Next
    from band.compat.redis_factory import RedisFactory
    from band.config import Settings
    from band.errors import (
        BandError,
        DecodingError,
        InvalidParams,
        RedisError,
        RedisReplyError,
        RedisUnavailable,
        RegistrationError,
        Reject,
        Retry,
        RpcError,
        RpcRemoteError,
        RpcTimeout,
        RpcUnavailable,
        SettingsError,
    )
    from band.jsonrpc.client import RpcClient
    from band.redis.link import RedisLink
    from band.registry import Expose, Health, Worker
    from band.responses import response
    from band.service.crontab import Crontab
    from band.service.jobs import Scheduler, blocking
    from band.service.lifecycle import Dome, Service
    from band.service.runner import start_server
    from band.telemetry.logs import logger
    from band.telemetry.metrics import Metrics
    from band.typed_settings import Secret

    app: web.Application
    cleanup: Worker
    crontab: Crontab
    dome: Dome
    environ: dict[str, str]
    expose: Expose
    health: Health
    lifespan: Worker
    link: RedisLink
    loop: AbstractEventLoop
    metrics: Metrics
    middleware: Worker
    redis_factory: RedisFactory
    rpc: RpcClient
    scheduler: Scheduler
    settings: Settings
    setup: Worker
    worker: Worker

__all__ = [
    "BandError",
    "Call",
    "DecodingError",
    "Event",
    "InvalidParams",
    "Meta",
    "Next",
    "RedisError",
    "RedisReplyError",
    "RedisUnavailable",
    "RegistrationError",
    "Reject",
    "Retry",
    "RpcError",
    "RpcRemoteError",
    "RpcTimeout",
    "RpcUnavailable",
    "Secret",
    "Service",
    "SettingsError",
    "app",
    "blocking",
    "cleanup",
    "crontab",
    "dome",
    "environ",
    "expose",
    "health",
    "lifespan",
    "link",
    "logger",
    "loop",
    "metrics",
    "middleware",
    "redis_factory",
    "response",
    "rpc",
    "scheduler",
    "settings",
    "setup",
    "start_server",
    "web",
    "worker",
]

_MODULES = {
    "band.calls.event": "Event",
    "band.calls.middleware": "Call Next",
    "band.config": "environ",
    "band.errors": "BandError DecodingError InvalidParams RedisError RedisReplyError RedisUnavailable "
    "RegistrationError Reject Retry RpcError RpcRemoteError RpcTimeout RpcUnavailable SettingsError",
    "band.responses": "response",
    "band.service.jobs": "blocking",
    "band.service.lifecycle": "Service",
    "band.service.runner": "start_server",
    "band.typed_settings": "Secret",
    "msgspec": "Meta",
}
_ELSEWHERE = {name: module for module, names in _MODULES.items() for name in names.split()}
"""Name → its module; all others, except those made in `_make`, are attributes of the process's service."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'band' has no name {name!r}")
    value = globals()[name] = _make(name)
    return value


def _make(name: str) -> Any:
    if name == "web":
        return importlib.import_module("aiohttp.web")
    if name in _ELSEWHERE:
        return getattr(importlib.import_module(_ELSEWHERE[name]), name)
    if name == "logger":
        from band.telemetry.logs import ensure_logs, logger

        ensure_logs()  # a module of the service may log while it is imported
        return logger
    if name == "redis_factory":
        from band.compat.redis_factory import RedisFactory

        return RedisFactory()
    if name == "settings":
        from band.service.runner import read_own_settings

        return read_own_settings()
    if name == "loop":
        from band.service.loop import get_loop

        return get_loop()
    from band.service.lifecycle import service

    return getattr(service, name)
