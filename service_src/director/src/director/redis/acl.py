"""What the Redis user of a service may do, as rules of `ACL SETUSER`: pure. Redis 7.0 and later.

The users of the playbook (`admin`, `director`) stand in roles/redis/templates/users.acl.j2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from band.constants import DEAD_LETTERS, EVENTS_STREAM, FRONTIER_SERVICE, REGISTRATIONS_KEY
from band.jsonrpc.instances import KEY as INSTANCES
from band.stream.consumer_group import RETRIES, TAKEN

ANY_KEY = "*"
"""In `redis_keys`: every key that is not the platform's own, as services of the original platform had it."""

NO_EVENTS = "!no-events"
"""Among the keys of a spec, where none of band.yml can be so called: `redis_events: none`, nothing of the stream."""
READ_EVENTS = "!read-events"
"""The same for `redis_events: read`: it reads the stream, and takes part in no consumer group."""

_ANY_CHANNEL = "&*"
"""RPC has a channel for each service and each instance, and a caller publishes on that of whom he calls."""

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
"""Who is there, and the place of one who types `band dev call` in a service's container."""

_FRONT_RULES = (
    f"~{EVENTS_STREAM}", "~front:journal:*", f"%R~{REGISTRATIONS_KEY}", "%R~s:*",
    f"~{INSTANCES.format(service=FRONTIER_SERVICE)}", *_INSTANCES, _ANY_CHANNEL, *_COMMANDS, "+info",
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
        INSTANCES.format(service=service), "s:*",
    ]  # fmt: skip
    given = [key for key in keys if key not in {ANY_KEY, NO_EVENTS, READ_EVENTS}]
    rest = all_keys_but(_platform(namespace)) if ANY_KEY in keys else ()
    allowed = (f"~{key}" for key in (*own, *given, *rest))
    return (*allowed, *_INSTANCES, _ANY_CHANNEL, *_COMMANDS, *_events_rules(keys))


def _events_rules(keys: Sequence[str]) -> tuple[str, ...]:
    """Return the selector for the stream of events, if a service has to do with it."""
    if NO_EVENTS in keys:
        return ()
    commands = _READ if READ_EVENTS in keys else _LISTEN
    return (f"({' '.join([f'~{EVENTS_STREAM}', *(f'+{command}' for command in commands)])})",)


def is_platform_key(pattern: str, namespace: str) -> bool:
    """Tell whether a key's name, or a beginning followed by `*`, may mean keys of the platform."""
    begun, any_end = pattern.removesuffix("*"), pattern.endswith("*")
    return any(
        begun == word or begun.startswith(f"{word}:") or (any_end and f"{word}:".startswith(begun))
        for word in _platform(namespace)
    )


def all_keys_but(words: Iterable[str]) -> Iterator[str]:
    """Yield glob patterns that match every key but these words, and what begins with one of them and a colon.

    Redis has no rule that takes keys away again, so all others are listed: for `ab` these are `[^a]*`, `a`, `a[^b]*`
    and `ab[^:]*`.
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
