"""`POST /userdata/update`: a visitor stores data about itself, which its later events have as `data.stored`.

The hash `s:<uid>` is the original's. What stands in it, and for how long, is bounded: visitors choose both.

Commands of Redis: EVAL (in it HLEN, HGETALL, HSET, EXPIRE).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, Protocol

from band import RedisError, RedisReplyError, logger
from band.platform import RedisLink, encode, objected
from front.enrichment.visitor_store import MAX_KEPT_BYTES, PREFIX
from front.event.coercion import to_number
from front.event.message import Message
from front.event.visitor_id import valid_uid
from front.pipeline import replies
from front.pipeline.replies import Reply
from front.storage.redis_persistence import RedisPersistence

TTL_SECONDS: Final = 30 * 86_400
"""How long it is kept when the request does not say; each update begins anew."""
MAX_TTL_SECONDS: Final = 365 * 86_400
MAX_FIELDS: Final = 50
"""Fields of one visitor, with those that services have stored."""
MAX_NAME_LENGTH: Final = 100
MAX_BYTES: Final = MAX_KEPT_BYTES
"""Names and JSON of one visitor together; as much as front caches."""
MEMORY_SHARE: Final = 0.5
"""Of `maxmemory`: from here on nothing more is stored, so that invented visitors leave Redis to events."""
ASSUMED_MEMORY_BYTES: Final = 512 * 1024 * 1024
"""Stands for `maxmemory` where Redis has none."""

TIMEOUT_SECONDS: Final = 1.0
"""How long Redis may take."""

_NOT_STORED: Final = frozenset({"service", "name", "projectId", "uid", "consent", "ttl"})
"""What the request says of itself."""

# Whether it fits is decided where it is written, so that requests at the same moment cannot exceed it together.
# Returns 0 where it does not fit. A time to live of 0 deletes the hash, whatever its size.
_UPDATE: Final = """
local most = tonumber(ARGV[1])
if ARGV[3] == '0' then
  redis.call('EXPIRE', KEYS[1], 0)
  return 1
end
if redis.call('HLEN', KEYS[1]) > most then return 0 end
local found, kept, fields, bytes = redis.call('HGETALL', KEYS[1]), {}, 0, 0
for i = 1, #found, 2 do kept[found[i]] = found[i + 1] end
for i = 4, #ARGV, 2 do kept[ARGV[i]] = ARGV[i + 1] end
for name, value in pairs(kept) do
  fields = fields + 1
  bytes = bytes + #name + #value
end
if fields > most or bytes > tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


class Visitor(Protocol):
    """Who sent a request."""

    def refusal(self) -> str:
        """Return why the request may not store data about its visitor; empty when it may."""

    def claim(self) -> str:
        """Return the uid of the request's cookie, and take the visitor for that one, whatever else the request says."""


class UserData:
    """Stores what visitors say of themselves."""

    def __init__(self, link: RedisLink, redis: RedisPersistence, *, stored: bool) -> None:
        """`stored`: whether events get what is stored at all; else nothing is."""
        self._link = link
        self._redis = redis
        self._stored = stored

    async def update(self, message: Message, visitor: Visitor | None, reserved: Collection[str]) -> Reply:
        """Store the fields of a message, but those that are `reserved` for enrichers, and answer it. Never raises."""
        if not self._stored:
            return replies.error("The operator of this server stores no data about visitors (STORED)", 403)
        if visitor is None:
            return replies.error("Data about a visitor is taken over HTTP only: send POST /userdata/update", 403)
        if refusal := visitor.refusal():
            return replies.error(refusal, 403)
        uid = visitor.claim()
        if not valid_uid(uid):
            return replies.error(
                "Nothing was stored: the request has no valid cookie `uid`. Only visitors with a cookie can store data "
                "about themselves; every response to an event sets it",
                403,
            )
        data = message["data"]
        ttl = _ttl_of(data)
        if ttl != 0 and objected(message):  # who objects may still erase
            return replies.error("Nothing was stored: the visitor objects to it, or has not consented", 403)
        message["uid"] = uid
        if ttl is None:
            return replies.error(
                f"`ttl` must be a whole number of seconds from 0 (delete) to {MAX_TTL_SECONDS} (a year)", 400
            )
        fields = {name: value for name, value in data.items() if name not in _NOT_STORED and name not in reserved}
        if refusal := _unfit(fields, ttl):
            return replies.error(refusal, 400)
        return await self._write(uid, fields, ttl, message["id"])

    async def _write(self, uid: str, fields: dict[str, Any], ttl: int, event_id: str) -> Reply:
        if ttl and self._redis.used_bytes >= MEMORY_SHARE * (self._redis.max_bytes or ASSUMED_MEMORY_BYTES):
            return replies.error("Nothing was stored: the server's memory is half full; try again later", 503)
        pairs = [part for name, value in fields.items() for part in (name.encode(), encode(value))] if ttl else []
        try:
            fits = sum(map(len, pairs)) <= MAX_BYTES and await self._link.command(
                "EVAL", _UPDATE, 1, f"{PREFIX}{uid}", MAX_FIELDS, MAX_BYTES, ttl, *pairs, timeout=TIMEOUT_SECONDS
            )
        except RedisError as error:
            log = logger.warning if isinstance(error, RedisReplyError) else logger.info
            log("userdata_not_stored", reason=str(error)[:200])
            return replies.error("Nothing was stored: the server cannot store it now; try again later", 503)
        if not fits:
            return replies.error(
                f"Nothing was stored: a visitor has at most {MAX_FIELDS} fields, of {MAX_BYTES} bytes in all", 413
            )
        return replies.data({"id": event_id, "ttl": ttl})


def _ttl_of(data: dict[str, Any]) -> int | None:
    """Return the seconds that a request asks for; None when they are out of bounds."""
    if "ttl" not in data:
        return TTL_SECONDS
    given = data["ttl"]
    ttl = to_number(given) if isinstance(given, (str, int, float)) and not isinstance(given, bool) else None
    if ttl is None or given == "" or ttl != int(ttl) or not 0 <= ttl <= MAX_TTL_SECONDS:
        return None
    return int(ttl)


def _unfit(fields: dict[str, Any], ttl: int) -> str:
    """Return what is wrong with fields that a visitor wants to store; empty when nothing is."""
    if not fields and ttl:
        return "There is nothing to store: send an object of fields, or `ttl` 0 to delete what is stored"
    if len(fields) > MAX_FIELDS:
        return f"There are more than {MAX_FIELDS} fields"
    if not all(0 < len(name) <= MAX_NAME_LENGTH and name.isprintable() for name in fields):
        return f"Names of fields must be printable, with 1 to {MAX_NAME_LENGTH} characters"
    return ""
