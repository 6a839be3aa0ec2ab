"""A Redis user for each service: created before its container, removed after its last one.

A user is called `<service>.<generation>`. Its password, and the generation, are derived from the director's own
password in Redis, so none is stored, and a new password of the director means new users: the old ones stay until no
container signs in with them any more, and their connections end with them. Redis keeps the users in its own file, so
that services can reconnect while the director is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from band import RedisReplyError, RedisUnavailable, SettingsError, logger
from band.platform import (
    DEAD_LETTERS,
    EVENTS_STREAM,
    FRONTIER_SERVICE,
    LISTENER,
    PROJECTS_KEY,
    REGISTRATIONS_KEY,
    RETRIES,
    TAKEN,
    RedisAddress,
    RedisLink,
    run_forever,
)
from band.platform import INSTANCES_KEY as INSTANCES
from director.engine.snapshot import Snapshot
from director.locks import Locks
from director.state.desired import Desired
from director.state.store import Store

ANY_KEY = "*"
"""In `redis_keys`: every key that is not the platform's own, as services of the original platform had it."""

NO_EVENTS = "!no-events"
"""Among the keys of a spec, where none of band.yml can be so called: `redis_events: none`, nothing of the stream."""
READ_EVENTS = "!read-events"
"""The same for `redis_events: read`: it reads the stream, without consumer groups."""

_ANY_CHANNEL = "&*"
"""RPC has a channel for each service and each instance, and a caller publishes on the callee's."""

# Without `@admin` and `@dangerous` there is no FLUSHALL, CONFIG, ACL, MONITOR, KEYS, DEBUG, SHUTDOWN, CLIENT KILL.
_COMMANDS = ("+@all", "-@admin", "-@dangerous", "-@scripting", "+eval", "+evalsha", "+script|load")

# Everything that a consumer group needs, and nothing that changes the stream. Redis has no rule for names of groups:
# who may use one may use all, so a listener can take events away from another (docs/threat-model.md).
_READ = ("xread", "xrange", "xrevrange", "xlen", "xinfo|stream", "xinfo|groups", "xinfo|consumers")
_LISTEN = (
    *_READ, "xreadgroup", "xack", "xclaim", "xautoclaim", "xpending",
    "xgroup|create", "xgroup|createconsumer", "xgroup|delconsumer",
)  # fmt: skip

_INSTANCES = (f"%R~{INSTANCES.format(service='*')}", f"~{INSTANCES.format(service='band-call-*')}")
"""Presence, also for `band dev call` in a service's container."""

_FRONT_RULES = (
    f"~{EVENTS_STREAM}", "~front:journal:*", f"%R~{REGISTRATIONS_KEY}", f"%R~{PROJECTS_KEY}", "%R~s:*",
    f"~{INSTANCES.format(service=FRONTIER_SERVICE)}", *_INSTANCES, _ANY_CHANNEL, *_COMMANDS, "+info",
    "(~s:* +eval +hset +expire)",  # what a visitor stores about itself; the script's commands are checked one by one
)  # fmt: skip


def rules_of(service: str, keys: Sequence[str], namespace: str) -> tuple[str, ...]:
    """Return the rules of a service's user: front's own, or those of any other service.

    Args:
        service: its name.
        keys: `redis_keys` of its band.yml: names of keys, or their beginnings followed by `*`; and what its
            `redis_events` stands for.
        namespace: the director's, with which its keys begin.
    """
    if service == FRONTIER_SERVICE:
        return _FRONT_RULES
    dead = DEAD_LETTERS.format(name=service)
    own = [
        *(key for key in (f"{service}:*",) if not is_platform_key(key, namespace)),
        dead, f"{dead}:*", f"held:{service}:*", TAKEN.format(group=service), RETRIES.format(group=service),
        # One of several groups of the service, `<service>.<name>`.
        *(key.format(group=f"{service}.*") for key in (TAKEN, RETRIES, LISTENER)),
        LISTENER.format(group=service), f"{LISTENER.format(group=service)}:*",
        INSTANCES.format(service=service), "s:*", f"{grants_of(service, namespace)}:*",
    ]  # fmt: skip
    given = [key for key in keys if key not in {ANY_KEY, NO_EVENTS, READ_EVENTS}]
    rest = all_keys_but(_platform(namespace)) if ANY_KEY in keys else ()
    allowed = (f"~{key}" for key in (*own, *given, *rest))
    return (*allowed, *_INSTANCES, _ANY_CHANNEL, *_COMMANDS, *_events_rules(keys))


def grants_of(service: str, namespace: str) -> str:
    """Return how the keys of the director's grants for a service begin, before a colon."""
    return f"{namespace}:director:grants:{service}"


def _events_rules(keys: Sequence[str]) -> tuple[str, ...]:
    """Return the selector for the stream of events, if a service has to do with it."""
    if NO_EVENTS in keys:
        return ()
    commands = _READ if READ_EVENTS in keys else _LISTEN
    return (f"({' '.join([f'~{EVENTS_STREAM}', *(f'+{command}' for command in commands)])})",)


def is_platform_key(pattern: str, namespace: str) -> bool:
    """Return whether a key's name, or a prefix followed by `*`, may match keys of the platform."""
    begun, any_end = pattern.removesuffix("*"), pattern.endswith("*")
    return any(
        begun == word or begun.startswith(f"{word}:") or (any_end and f"{word}:".startswith(begun))
        for word in _platform(namespace)
    )


def all_keys_but(words: Iterable[str]) -> Iterator[str]:
    """Yield glob patterns that match every key except these words and those that begin with one of them and a colon.

    Redis has no rule that denies keys, so all others are listed: for `ab` these are `[^a]*`, `a`, `a[^b]*` and
    `ab[^:]*`.
    """
    taken = set(words)
    follow: dict[str, set[str]] = {}
    for word in taken:
        for at, letter in enumerate(f"{word}:"):
            follow.setdefault(word[:at], set()).add(letter)
    for begun, letters in sorted(follow.items()):
        if begun and begun not in taken:
            yield _literal(begun)
        yield f"{_literal(begun)}[^{''.join(map(_literal, sorted(letters)))}]*"


def _platform(namespace: str) -> tuple[str, ...]:
    """Return the words with which keys of the platform begin, before a colon; `events` is one itself."""
    return (EVENTS_STREAM, "dead", "held", "band", "front", namespace)


def _literal(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in ":_" else f"\\{letter}" for letter in text)


_BEYOND_THE_WIRE = ("band",)
"""Words with which channels begin that the original's wire protocol does not have."""


def anonymous_rules() -> tuple[str, ...]:
    """Return what the user `default` may do where TypeScript services of the original sign in as nobody.

    They subscribe to the channel of their name and to `enrich` and `broadcast`, publish to whoever calls them, and keep
    data about visitors. Commands: those that redis-fast-driver and the original's services send.
    """
    channels = (f"&{pattern}" for pattern in all_keys_but(_BEYOND_THE_WIRE))
    return ("~s:*", *channels, *(f"+{command}" for command in _ANONYMOUS))


_ANONYMOUS = (
    "ping", "echo", "quit", "select", "client|setname", "client|setinfo", "client|id", "subscribe", "unsubscribe",
    "publish", "get", "set", "hget", "hmget", "hgetall", "hset", "hmset", "expire", "ttl",
)  # fmt: skip
LOOK_EVERY = 1.0
ASK_EVERY = 30.0
"""Seconds between two checks of Redis' users; in between they are checked after a change."""
PROBE_SECONDS = 2.0
"""Seconds that Redis may take for the first reply on a new connection."""
DEFAULT = "default"
Keys = Sequence[str] | None
"""`redis_keys` of a service; None for one deployed before there were users: it keeps its access."""

_OURS = re.compile(r"(?P<service>[a-z][a-z0-9_-]*)\.(?P<generation>[0-9a-f]{8})")
_NOTHING = ("resetkeys", "resetchannels", "clearselectors", "nocommands")
_NO_FILE = "not configured to use an ACL file"


class RedisUsers:
    """The users of one director's services; `anonymous`: `default` is one too, without a password."""

    def __init__(
        self, store: Store, own_dsn: str, service_dsn: str, namespace: str, *, anonymous: bool = False
    ) -> None:
        self._store = store
        self._anonymous = anonymous
        self._address = RedisAddress.parse(own_dsn)
        self._dsn = service_dsn
        self._namespace = namespace
        # Slow on purpose: a service knows its own password, and must not find the director's by trying words.
        password, salt = self._address.password.encode(), f"redis users of {namespace}".encode()
        self._key = hashlib.scrypt(password, salt=salt, n=2**14, r=8, p=1, dklen=32)
        self._generation = self._derive("generation")[:8]
        self._made: dict[str, tuple[str, ...]] = {}
        self._turn = asyncio.Lock()

    def user(self, service: str) -> str:
        """Return the name of a service's user today."""
        return f"{service}.{self._generation}"

    def dsn(self, service: str) -> str:
        """Return the address of Redis that a service gets, with its user and password."""
        parts = urlsplit(self._dsn)
        secret = f"{quote(self.user(service), safe='')}:{self._password(service)}"
        return urlunsplit(parts._replace(netloc=f"{secret}@{parts.netloc.rpartition('@')[2]}"))

    def grants(self, service: str) -> str:
        """Return the beginning of the keys under which a service finds the director's grants."""
        return grants_of(service, self._namespace)

    def forget(self) -> None:
        """Assume that Redis has lost the users: it was unavailable."""
        self._made.clear()

    async def make(self, service: str, keys: Keys) -> None:
        """Make sure that a service's current user exists with the right permissions.

        Raises:
            RedisError: Redis is unavailable, or does not permit it.
        """
        async with self._turn:
            if await self._set(self.user(service), keys):
                await self._save()

    async def tidy(self, services: Mapping[str, Keys], in_use: Collection[str] | None, busy: Collection[str]) -> None:
        """Create missing users, remove unused ones, and turn `default` off if it is unused.

        Args:
            services: the services that need a user, with their keys.
            in_use: users that containers sign in with; they stay, whatever their generation. None: unknown.
            busy: services with an operation in progress; their existing users are left alone.

        Raises:
            RedisError: Redis is unavailable, or does not permit it.
        """
        async with self._turn:
            states = {line.split()[1]: line.split()[2] for line in map(_text, await self._store.command("ACL", "LIST"))}
            self._made = {user: rules for user, rules in self._made.items() if user in states}
            missing = {name: keys for name, keys in services.items() if self.user(name) not in states}
            settled = {name: keys for name, keys in services.items() if name not in busy}
            changed = [await self._set(self.user(name), keys) for name, keys in {**missing, **settled}.items()]
            if in_use is not None:
                changed += [await self._see_to(user, states[user], services, in_use, busy) for user in states]
            if any(changed):
                await self._save()

    async def _see_to(
        self, user: str, state: str, services: Mapping[str, Keys], in_use: Collection[str], busy: Collection[str]
    ) -> bool:
        """Keep, change or remove a user that Redis has; returns whether there was anything to do."""
        match = _OURS.fullmatch(user)
        if user == DEFAULT and user not in in_use:
            if self._anonymous:
                return await self._let_anyone_in(state)
            return await self._turn_default_off() if state == "on" else False
        if match is None or match["service"] in busy:
            return False
        service = match["service"]
        if user in in_use:  # an older container keeps its credentials too
            return await self._set(user, services.get(service))
        return await self._remove(user) if service not in services or user != self.user(service) else False

    async def _set(self, user: str, keys: Keys) -> bool:
        """Give a user its rules, and its password where it is of today; returns whether there was anything to do."""
        service = user.partition(".")[0]
        rules = rules_of(service, [ANY_KEY] if keys is None else keys, self._namespace)
        if self._made.get(user) == rules:
            return False
        password = [f">{self._password(service)}"] if user == self.user(service) else []
        await self._store.command("ACL", "SETUSER", user, "on", *_NOTHING, *password, *rules)
        if user not in self._made:
            logger.info("redis_user_set", user=user)
        self._made[user] = rules
        return True

    async def _remove(self, user: str) -> bool:
        await self._store.command("ACL", "DELUSER", user)
        self._made.pop(user, None)
        logger.info("redis_user_removed", user=user)
        return True

    async def _turn_default_off(self) -> bool:
        await self._store.command("ACL", "SETUSER", DEFAULT, "reset")
        self._made.pop(DEFAULT, None)
        logger.info("redis_default_user_off", reason="every service signs in with a user of its own")
        return True

    async def _let_anyone_in(self, state: str) -> bool:
        """Turn `default` on without a password, and off again where Redis then takes no connections at all."""
        rules = anonymous_rules()
        if state == "on" and self._made.get(DEFAULT) == rules:
            return False
        await self._store.command("ACL", "SETUSER", DEFAULT, "on", "nopass", *_NOTHING, *rules)
        if await self._is_protected():
            self._anonymous = False
            await self._turn_default_off()
            logger.error(
                "redis_anonymous_refused",
                reason="with protected-mode Redis refuses every connection while `default` has no password",
                hint="set band_redis_anonymous and run bin/setup, or set protected-mode no in redis.conf; then restart "
                "the director",
            )
            return True
        self._made[DEFAULT] = rules
        logger.warning("redis_anonymous_on", reason="BAND_REDIS_ANONYMOUS: anybody on the Docker network may sign in")
        return True

    async def _is_protected(self) -> bool:
        """Return whether a new connection is refused; what cannot be found out is taken for no."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PROBE_SECONDS):
                reader, writer = await asyncio.open_connection(self._address.host, self._address.port)
                writer.write(b"PING\r\n")
                answer = await reader.readline()
                writer.close()
                return answer.startswith(b"-DENIED")
        return False

    async def _save(self) -> None:
        """Have Redis write its users down; without a file they are made again when Redis was unavailable."""
        try:
            await self._store.command("ACL", "SAVE")
        except RedisReplyError as error:
            if _NO_FILE not in str(error):
                logger.warning("redis_users_not_saved", reason=str(error))

    def _password(self, service: str) -> str:
        return self._derive(f"password of {service}")[:40]

    def _derive(self, what: str) -> str:
        return hmac.new(self._key, what.encode(), hashlib.sha256).hexdigest()


@dataclass(eq=False)
class UserKeeper:
    """Keeps the users in their desired state, also after Redis lost them."""

    users: RedisUsers
    link: RedisLink
    desired: Desired
    snapshot: Snapshot
    locks: Locks
    _connections: int = field(default=0, init=False)
    _kept: tuple[Any, ...] = field(default=(), init=False)

    async def run(self) -> None:
        await run_forever("redis_users", self.look, pause_seconds=LOOK_EVERY)

    async def look(self) -> None:
        """Update the users after a change, or after half a minute.

        Raises:
            RedisReplyError: Redis does not permit creating users.
        """
        if not self.link.connected or not self.desired.loaded:
            return
        if self.link.reconnects != self._connections:
            self._connections = self.link.reconnects
            self.users.forget()
        wanted, observed = self.desired.all(), self.snapshot.current()
        services = {name: one.spec.redis_keys for name, one in wanted.items() if one.state != "removed"}
        in_use: frozenset[str] | None = None
        if observed is not None:
            lie_still = {name for name, one in wanted.items() if one.state != "running"}
            live = [item for item in observed if item.alive or item.service not in lie_still]
            in_use = frozenset(user_in(item.env) for item in live if item.kind == "service")
        world = (services, in_use, self._connections, time.monotonic() // ASK_EVERY)
        if world != self._kept:
            with contextlib.suppress(RedisUnavailable):
                await self.users.tidy(services, in_use, self.locks.busy)
                self._kept = world


def user_in(env: Mapping[str, str]) -> str:
    """Return the user that a container with this environment signs in as; empty where it has no address of Redis."""
    try:
        return (RedisAddress.parse(env["REDIS_DSN"]).username or DEFAULT) if env.get("REDIS_DSN") else ""
    except SettingsError:
        return ""


def _text(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw
