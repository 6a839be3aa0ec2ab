"""Standard Webhooks: `/webhooks/<source>`, from sources whose secrets front knows. Their service is `webhooks`.

The signature is HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>` (github.com/standard-webhooks).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any, Final

from front.errors import BadRequest
from front.event.message import KEY_PREFIX, Message
from front.intake.families.family import Draft, Family, Post, mapping, milliseconds, rest_of, text, without_empty

SERVICE: Final = "webhooks"
TOLERANCE_MS: Final = 5 * 60 * 1000
"""A request that was signed longer ago, or so far in the future, may be a repetition by somebody else."""
_MAX_SIGNATURES: Final = 16
_STANDARD: Final = frozenset({"data", "timestamp", "type"})


def is_reserved(key: str) -> bool:
    """Return whether an event key is one that only signed requests may have."""
    return key.startswith(_RESERVED)


_RESERVED: Final = f"{KEY_PREFIX}.{SERVICE}."


def _read(post: Post) -> Sequence[Draft]:
    source = post.path.removeprefix(f"/{SERVICE}/").rstrip("/")
    keys = post.webhook_sources.get(source)
    if keys is None:
        raise BadRequest("unknown_source", "front has no secret for this source of webhooks; see webhook_secrets", 404)
    own_id, sent_at = _verified(post, keys)
    body = post.json()
    standard = mapping(body) if mapping(body).keys() >= _STANDARD else {}
    kind = text(mapping(body).get("type"))
    return [
        Draft(
            f"{source}.{kind}" if kind else source,
            without_empty(
                data=standard.get("data") if standard else body,
                type=kind,
                source=source,
                extensions=rest_of(standard, _STANDARD),
                ts=standard.get("timestamp"),
            ),
            service=SERVICE,
            ts=milliseconds(standard.get("timestamp")) or sent_at,
            sent_at=sent_at,
            dedup=own_id,
            said=_objects(body, standard),
        )
    ]


def _objects(body: Any, standard: Message) -> Sequence[Message]:
    return mapping(body), mapping(standard.get("data"))


def _verified(post: Post, keys: Sequence[bytes]) -> tuple[str, int]:
    """Return id and time of a request that one of the keys has signed; BadRequest (401) for any other."""
    own_id, moment, given = (post.headers.get(b"webhook-" + name, b"") for name in (b"id", b"timestamp", b"signature"))
    if not (own_id and moment and given):
        raise _refusal("unsigned", "the headers webhook-id, webhook-timestamp and webhook-signature are needed")
    if not moment.isdigit() or len(moment) > 12 or abs(int(moment) * 1000 - post.received) > TOLERANCE_MS:
        raise _refusal("signature_time", "webhook-timestamp is not within 5 minutes of the time here")
    signed = b"%b.%b.%b" % (own_id, moment, post.body)
    expected = [b"v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys]
    offered = given.split()[:_MAX_SIGNATURES]
    # Every pair is compared, so that the time says nothing about which one fits.
    if not sum(hmac.compare_digest(one, other) for one in expected for other in offered):
        raise _refusal("wrong_signature", "webhook-signature does not fit the body and the secret of this source")
    return post.header(b"webhook-id"), int(moment) * 1000


def _refusal(code: str, reason: str) -> BadRequest:
    return BadRequest(code, reason, 401)


WEBHOOKS: Final = Family("Standard Webhooks", _read)
