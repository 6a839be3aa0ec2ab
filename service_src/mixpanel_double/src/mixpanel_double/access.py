"""Who may import: project tokens, project secrets, service accounts."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Access:
    """Known credentials. With none set, every name is a project: a newcomer needs no account."""

    tokens: set[str] = field(default_factory=set)
    accounts: dict[str, str] = field(default_factory=dict)

    def project_of(self, request: web.Request) -> str | None:
        """The project that this request may import to; None when it may not."""
        auth = _basic(request)
        if auth is None or not auth[0]:
            return None
        name, password = auth
        project_id = request.query.get("project_id", "")
        if password:
            known = not self.closed or self.accounts.get(name) == password
            return project_id if known and project_id else None
        return name if not self.closed or name in self.tokens else None

    def knows(self, token: str) -> bool:
        """Whether a token is one of a project."""
        return not self.tokens or token in self.tokens

    @property
    def closed(self) -> bool:
        """Whether only known credentials are let in."""
        return bool(self.tokens or self.accounts)

    def set(self, tokens: object, accounts: object) -> None:
        """Replace the known credentials; empty ones open the door to all.

        Raises:
            ValueError: they are not a list of texts and an object of texts.
        """
        if not isinstance(tokens, list) or not isinstance(accounts, Mapping):
            raise ValueError('write {"tokens": ["…"], "accounts": {"name": "secret"}}')  # noqa: TRY004 - a bad request
        self.tokens = {str(token) for token in tokens}
        self.accounts = {str(name): str(secret) for name, secret in accounts.items()}


def _basic(request: web.Request) -> tuple[str, str] | None:
    kind, _, packed = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return name, password
