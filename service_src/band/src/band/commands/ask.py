"""``band dev call`` and ``band dev tail``: use a running platform from a shell."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

from band import json_codec
from band.constants import EVENTS_STREAM, UNSHOWABLE
from band.errors import BandError, DecodingError
from band.json_codec import decode_loosely
from band.redis import RedisAddress, RedisLink, dsn_from_env
from band.service.config import ServiceConfig
from band.service.lifecycle import Service
from band.telemetry.logs import configure_logs

CONNECT_SECONDS: Final = 5.0
BLOCK_MS: Final = 5000
_ESCAPES: Final = {code: f"\\u{code:04x}" for code in UNSHOWABLE}
"""As escapes of JSON: they are for no terminal."""


def read_pairs(pairs: list[str]) -> dict[str, Any]:
    """Return parameters from ``key=value`` (text) or ``key:=value`` (JSON), as in HTTPie.

    Raises:
        ValueError: one is neither.
    """
    params: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip(":"):
            raise ValueError(f"{pair!r} is not a parameter; write key=text or key:=json")
        params[key.removesuffix(":")] = json_codec.decode_loosely(value) if key.endswith(":") else value
    return params


def run_call(service: str, method: str, pairs: list[str], timeout: float, env: Mapping[str, str]) -> int:
    """Call a method and print its result as JSON; 0, or 1 with the error on standard error."""
    try:
        params = read_pairs(pairs)
        result = asyncio.run(_call(service, method, params, timeout, env))
    except (BandError, ValueError) as error:
        sys.stderr.write(_escaped(f"band dev call: {error}\n"))
        return 1
    sys.stdout.write(_escaped(json_codec.encode(result)) + "\n")
    return 0


async def _call(service: str, method: str, params: dict[str, Any], timeout: float, env: Mapping[str, str]) -> Any:
    configure_logs("ERROR")
    caller = Service()
    dsn = env.get("REDIS_DSN") or dsn_from_env(env)
    await caller.start(ServiceConfig(name=f"band-call-{os.getpid()}", host="127.0.0.1", port=0, redis_dsn=dsn))
    try:
        await caller.link.ready(CONNECT_SECONDS)
        return await caller.rpc.call(service, method, params, timeout)
    finally:
        await caller.stop()


def run_tail(key: str, count: int, env: Mapping[str, str]) -> int:
    """Print events as they are accepted, one JSON object a line, until interrupted or after ``count`` of them."""
    try:
        asyncio.run(_tail(key, count, env))
    except BandError as error:
        sys.stderr.write(f"band dev tail: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _escaped(text: str | bytes) -> str:
    return (text.decode("utf-8", "replace") if isinstance(text, bytes) else text).translate(_ESCAPES)


async def _tail(key: str, count: int, env: Mapping[str, str]) -> None:
    configure_logs("ERROR")
    link = RedisLink("band-tail")
    link.start(RedisAddress.parse(env.get("REDIS_DSN") or dsn_from_env(env)))
    try:
        await link.ready(CONNECT_SECONDS)
        last, left = "$", count or -1
        while left:
            reply = await link.command(
                "XREAD", "BLOCK", BLOCK_MS, "STREAMS", EVENTS_STREAM, last, timeout=BLOCK_MS / 1000 + 5
            )
            for stream_id, fields in next(iter(reply.values())) if reply else []:
                last = stream_id.decode()
                event = fields[fields.index(b"event") + 1]
                if _key_of(event).startswith(key):
                    sys.stdout.write(_escaped(event) + "\n")
                    sys.stdout.flush()
                    left -= 1
                    if not left:
                        return
    finally:
        await link.close()


def _key_of(event: bytes) -> str:
    """Return the key of an event; empty for invalid data, which is only shown without a filter."""
    try:
        value = decode_loosely(event)
    except DecodingError:
        return ""
    return str(value.get("key", "")) if isinstance(value, dict) else ""
