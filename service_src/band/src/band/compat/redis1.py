"""The API of aioredis 1 on top of redis-py: ``await c.execute("GET", "k")`` returns bytes, pools lend clients."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from typing import Any, Final

from band.telemetry.logs import logger

_PASSED_ON: Final = ("db", "username", "password", "single_connection_client", "max_connections")
_SAME: Final = object()


def connect(dsn: str, **options: Any) -> Any:
    """Return a redis-py client that leaves Redis' replies unchanged; options that redis-py lacks are ignored."""
    from redis.asyncio import BlockingConnectionPool, Redis  # at use only: it costs 100 ms and 10 MB to import

    given = {key: value for key, value in options.items() if key in _PASSED_ON and value is not None}
    given["protocol"] = 2
    if "max_connections" in given:  # as aioredis: who finds the pool empty waits
        client = Redis(connection_pool=BlockingConnectionPool.from_url(dsn, timeout=None, **given))
        client.auto_close_connection_pool = True
    else:
        client = Redis.from_url(dsn, **given)
    client.response_callbacks.clear()
    return client


class Channel:
    """One subscribed channel: ``await channel.get()``, ``wait_message``, ``iter``; None is the end."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.is_active = True
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def get(self, *, encoding: str | None = None, decoder: Callable[[Any], Any] | None = None) -> Any:
        """Return the next message, None when the channel was closed."""
        message = await self._messages.get()
        if message is None:
            self._messages.put_nowait(None)
            return None
        value = message.decode(encoding) if encoding else message
        return decoder(value) if decoder else value

    async def get_json(self, encoding: str = "utf-8") -> Any:
        """Return the next message as a JSON value."""
        return await self.get(encoding=encoding, decoder=json.loads)

    async def wait_message(self) -> bool:
        """Wait for a message; False: the channel was closed."""
        while self._messages.empty():
            message = await self._messages.get()
            self._messages.put_nowait(message)
            if message is None:
                return False
        return self.is_active

    async def iter(self, *, encoding: str | None = None) -> AsyncIterator[Any]:
        """Yield messages until the channel is closed."""
        while (message := await self.get(encoding=encoding)) is not None:
            yield message

    def put(self, message: bytes | None) -> None:
        """Add a message; None closes the channel."""
        self.is_active = message is not None
        self._messages.put_nowait(message)


class Client:
    """One client. Every Redis command is a method by its name, and :meth:`execute` sends any command."""

    def __init__(self, inner: Any, encoding: str | None = None) -> None:
        self.inner = inner
        self.encoding = encoding
        self.closed = False
        self.channels: dict[str, Channel] = {}
        self._closing: asyncio.Task[None] | None = None
        self._pubsub: Any = None
        self._reader: asyncio.Task[None] | None = None

    # --- commands

    async def execute(self, *command: Any, encoding: Any = _SAME) -> Any:
        """Send one command; the reply as Redis gives it (bytes, int, list or None), decoded if there is an encoding."""
        reply = await self.inner.execute_command(*command)
        return _decode(reply, self.encoding if encoding is _SAME else encoding)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in ("multi_exec", "pipeline"):
            raise AttributeError(f"{name} of aioredis 1 does not exist here; use redis-py's: `client.inner.pipeline()`")
        return functools.partial(self._command, {"delete": "DEL"}.get(name, name.rstrip("_").upper()))

    async def _command(self, name: str, *args: Any, encoding: Any = _SAME) -> Any:
        reply = await self.execute(name, *_flat(args), encoding=encoding)
        return True if reply in (b"OK", "OK") else reply

    async def set(self, key: Any, value: Any, *, expire: int = 0, pexpire: int = 0, exist: str | None = None) -> bool:
        """Set a key, for ``expire`` seconds or ``pexpire`` ms; ``exist`` is SET_IF_EXIST or SET_IF_NOT_EXIST."""
        more: list[Any] = ["EX", expire] if expire else ["PX", pexpire] if pexpire else []
        more += [{"SET_IF_EXIST": "XX", "SET_IF_NOT_EXIST": "NX"}.get(exist, exist)] if exist else []
        return await self.execute("SET", key, value, *more) is not None

    SET_IF_EXIST = "SET_IF_EXIST"
    SET_IF_NOT_EXIST = "SET_IF_NOT_EXIST"

    async def hgetall(self, key: Any, *, encoding: Any = _SAME) -> dict[Any, Any]:
        """Return a hash as a dict."""
        return _pairs(await self.execute("HGETALL", key, encoding=encoding))

    async def hmset_dict(self, key: Any, *args: Mapping[Any, Any], **values: Any) -> bool:
        """Set the fields of a hash from mappings and keywords."""
        merged: dict[Any, Any] = {}
        for mapping in (*args, values):
            merged.update(mapping)
        return bool(await self._command("HMSET", key, merged))

    async def expire(self, key: Any, timeout: float) -> bool:
        """Make a key expire in ``timeout`` seconds; False if there is no such key."""
        return bool(await self.execute("PEXPIRE", key, int(timeout * 1000)))

    async def zrange(self, key: Any, start: int = 0, stop: int = -1, withscores: bool = False) -> list[Any]:
        """Return members by rank; with scores as (member, score)."""
        found = await self.execute("ZRANGE", key, start, stop, *(("WITHSCORES",) if withscores else ()))
        return [(member, float(score)) for member, score in _pairs(found).items()] if withscores else list(found)

    async def publish_json(self, channel: Any, value: Any) -> int:
        """Publish a value as JSON; returns the number of receivers."""
        return int(await self.execute("PUBLISH", channel, json.dumps(value)))

    # --- subscriptions

    async def subscribe(self, channel: Any, *channels: Any) -> list[Channel]:
        """Subscribe, and return a :class:`Channel` for each name."""
        names = [name.name if isinstance(name, Channel) else name for name in (channel, *channels)]
        names = [name.encode() if isinstance(name, str) else bytes(name) for name in names]
        if self._pubsub is None:
            self._pubsub = self.inner.pubsub()
        for name in names:
            self.channels.setdefault(name.decode(), Channel(name))
        await self._pubsub.subscribe(*names)
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_task(self._read())
        return [self.channels[name.decode()] for name in names]

    async def unsubscribe(self, channel: Any, *channels: Any) -> None:
        """End subscriptions; their channels are closed."""
        for name in (channel, *channels):
            text = name.decode() if isinstance(name, bytes) else str(name)
            if self._pubsub is not None:
                await self._pubsub.unsubscribe(text)
            if (found := self.channels.pop(text, None)) is not None:
                found.put(None)

    async def _read(self) -> None:
        try:
            async for message in self._pubsub.listen():
                found = self.channels.get(message["channel"].decode()) if message["type"] == "message" else None
                if found is not None:
                    found.put(message["data"])
        except Exception as error:  # noqa: BLE001 - as aioredis: the channels end, and the service subscribes again
            logger.warning("redis_subscription_lost", reason=str(error))
        finally:
            for channel in self.channels.values():
                channel.put(None)

    # --- the end

    def close(self) -> asyncio.Task[None]:
        """Start to close; :meth:`wait_closed`, or awaiting what this returns, waits for the end."""
        if self._closing is None:
            self.closed = True
            self._closing = asyncio.get_running_loop().create_task(self._close())
        return self._closing

    async def wait_closed(self) -> None:
        """Close the connections and wait for it."""
        await self.close()

    aclose = wait_closed

    async def _close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        if self._pubsub is not None:
            await self._pubsub.aclose()
        await self.inner.aclose()
        if getattr(self.inner, "auto_close_connection_pool", True):
            await self.inner.connection_pool.disconnect()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.wait_closed()


class Borrowed:
    """The result of ``pool.get()`` and ``await pool``: usable with ``async with`` and ``with``, and awaitable."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def __aenter__(self) -> Client:
        return self._client

    async def __aexit__(self, *_exc: object) -> None:
        return None

    def __enter__(self) -> Client:
        return self._client

    def __exit__(self, *_exc: object) -> None:
        return None

    def __await__(self) -> Generator[Any, None, Client]:
        yield from ()
        return self._client


class Pool(Client):
    """A pool of connections: a client that can also be borrowed from."""

    def get(self, key: Any = None, *, encoding: Any = _SAME) -> Any:
        """Without a key: a client for ``async with pool.get() as client``. With one: the value of the key, awaited."""
        return Borrowed(self) if key is None else self.execute("GET", key, encoding=encoding)

    def __await__(self) -> Generator[Any, None, Borrowed]:
        yield from ()
        return Borrowed(self)

    async def acquire(self) -> Client:
        """Return a client; each of its commands takes a connection of the pool."""
        return self

    def release(self, client: Client) -> None:
        """Do nothing: its connections are in the pool already."""

    async def clear(self) -> None:
        """Close unused connections."""
        await self.inner.connection_pool.disconnect(inuse_connections=False)


def _flat(args: tuple[Any, ...]) -> list[Any]:
    """Return arguments with mappings as keys and values in turn, and lists as their items."""
    flat: list[Any] = []
    for arg in args:
        if isinstance(arg, Mapping):
            for key, value in arg.items():
                flat += [key, value]
        elif isinstance(arg, list | tuple | set | frozenset):
            flat += arg
        else:
            flat.append(arg)
    return flat


def _pairs(found: Any) -> dict[Any, Any]:
    return dict(found) if isinstance(found, Mapping) else dict(zip(found[::2], found[1::2], strict=True))


def _decode(reply: Any, encoding: str | None) -> Any:
    if not encoding:
        return reply
    if isinstance(reply, bytes):
        return reply.decode(encoding)
    return [_decode(item, encoding) for item in reply] if isinstance(reply, list) else reply
