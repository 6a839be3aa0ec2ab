"""What sources of webhooks sign their requests with: the setting that lists it, read into keys."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

Sources = Mapping[str, Sequence[bytes]]
"""Name of a source -> the keys that its requests may be signed with: two while one is replaced."""

_PREFIX: Final = "whsec_"
_SHORTEST_KEY: Final = 16
_SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def sources_of(given: str) -> Sources:
    """Read the setting: JSON, `{"<source>": "whsec_…"}`, or a list of secrets.

    Raises:
        ValueError: it cannot be read. The text names no secret.
    """
    if not given:
        return {}
    try:
        found = json.loads(given)
    except ValueError:
        raise ValueError("is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError('is not a JSON object such as {"shop": "whsec_…"}')  # noqa: TRY004 - told like the others
    return {name: _keys(name, secrets) for name, secrets in found.items()}


def _keys(source: str, secrets: Any) -> Sequence[bytes]:
    if not _SOURCE.fullmatch(source):
        raise ValueError("has a source whose name is not 1 to 64 lower-case letters, digits, _ or -")
    listed = [secrets] if isinstance(secrets, str) else secrets
    if not isinstance(listed, list) or not listed or not all(isinstance(secret, str) for secret in listed):
        raise ValueError(f"has neither a secret nor a list of secrets for {source}")
    try:
        keys = [base64.b64decode(secret.removeprefix(_PREFIX), validate=True) for secret in listed]
    except ValueError:
        raise ValueError(f"has a secret of {source} that is not base64 after {_PREFIX}") from None
    if min(map(len, keys)) < _SHORTEST_KEY:
        raise ValueError(f"has a secret of {source} with fewer than {_SHORTEST_KEY} bytes")
    return keys
