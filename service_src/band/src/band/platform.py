"""Names for the platform's own programs (director, front, geo services), besides those of ``band``.

An author of a service seldom needs these. They are public all the same: listed in docs/api.md, and changed only with a
line in the changelog.
"""

from __future__ import annotations

from band.background import failing_loops, run_forever
from band.backoff import Backoff, exponential
from band.cache import Recent
from band.calls.consent import ASIDE, MARK, impersonal, objected
from band.calls.positions import first_id, last_id
from band.compat.requirements import adapt as adapt_pins
from band.compat.requirements import explain as explain_pins
from band.config import NO, YES, first, words
from band.constants import (
    BROADCAST,
    DEAD_LETTERS,
    DIRECTOR_METHODS,
    ENRICH,
    EVENTS_STREAM,
    FRONTIER_SERVICE,
    GRANTS_VARIABLE,
    NOTIFY_ALIVE,
    PROJECTS_KEY,
    REGISTRATIONS_KEY,
    REQUEST_METRICS,
    UNSHOWABLE,
)
from band.json_codec import decode, decode_loosely, encode
from band.jsonrpc import RpcClient, Scatter
from band.jsonrpc.instances import CHANNEL as INSTANCES_CHANNEL
from band.jsonrpc.instances import KEY as INSTANCES_KEY
from band.jsonrpc.messages import INVALID_PARAMS, METHOD_NOT_FOUND
from band.redis import RedisAddress, RedisLink, dsn_from_env
from band.redis.link import reply_error
from band.registry import Health, resolve
from band.responses import PIXEL_GIF, BaseBandResponse, from_wire
from band.service.config import OF_EVERY_SERVICE, ServiceConfig
from band.service.cross_site import (
    LOOPBACK,
    Header,
    SitePolicy,
    host_names,
    hostname,
    protect,
    reader,
    service_policy,
)
from band.service.health import DEGRADED, OK, http_status, read_health, worst
from band.service.openapi import operations as openapi_operations
from band.stream.consumer_group import LISTENER, RETRIES, TAKEN
from band.stream.dead_letter_methods import DeadLetters
from band.stream.dead_letters import READ_BYTES, Letter, LetterStream
from band.tasks import eager_task, wait_until_set
from band.telemetry.logs import configure_logs, know_secrets, mask_text
from band.telemetry.metrics import Metrics
from band.typed_settings import is_link, not_a_setting, unknown_keys
from band.typed_settings import load as load_settings

__all__ = [
    "ASIDE",
    "BROADCAST",
    "DEAD_LETTERS",
    "DEGRADED",
    "DIRECTOR_METHODS",
    "ENRICH",
    "EVENTS_STREAM",
    "FRONTIER_SERVICE",
    "GRANTS_VARIABLE",
    "INSTANCES_CHANNEL",
    "INSTANCES_KEY",
    "INVALID_PARAMS",
    "LISTENER",
    "LOOPBACK",
    "MARK",
    "METHOD_NOT_FOUND",
    "NO",
    "NOTIFY_ALIVE",
    "OF_EVERY_SERVICE",
    "OK",
    "PIXEL_GIF",
    "PROJECTS_KEY",
    "READ_BYTES",
    "REGISTRATIONS_KEY",
    "REQUEST_METRICS",
    "RETRIES",
    "TAKEN",
    "UNSHOWABLE",
    "YES",
    "Backoff",
    "BaseBandResponse",
    "DeadLetters",
    "Header",
    "Health",
    "Letter",
    "LetterStream",
    "Metrics",
    "Recent",
    "RedisAddress",
    "RedisLink",
    "RpcClient",
    "Scatter",
    "ServiceConfig",
    "SitePolicy",
    "adapt_pins",
    "configure_logs",
    "decode",
    "decode_loosely",
    "dsn_from_env",
    "eager_task",
    "encode",
    "explain_pins",
    "exponential",
    "failing_loops",
    "first",
    "first_id",
    "from_wire",
    "host_names",
    "hostname",
    "http_status",
    "impersonal",
    "is_link",
    "know_secrets",
    "last_id",
    "load_settings",
    "mask_text",
    "not_a_setting",
    "objected",
    "openapi_operations",
    "protect",
    "read_health",
    "reader",
    "reply_error",
    "resolve",
    "run_forever",
    "service_policy",
    "unknown_keys",
    "wait_until_set",
    "words",
    "worst",
]
