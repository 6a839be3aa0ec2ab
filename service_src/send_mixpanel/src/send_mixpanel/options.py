"""What an operator sets: where to send, with which credentials, how fast. Read once at start."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from band import Secret, SettingsError
from band.platform import OF_EVERY_SERVICE, load_settings, words

HOSTS = {
    "us": "https://api.mixpanel.com",
    "eu": "https://api-eu.mixpanel.com",
    "in": "https://api-in.mixpanel.com",
}
IMPORT, ENGAGE, GROUPS = "import", "engage", "groups"
"""Endpoints: of events, of changes of people's profiles, and of changes of groups' profiles."""
ENDPOINTS = (IMPORT, ENGAGE, GROUPS)
DEFAULT = "default"
"""The name of the project for what is in no table."""
SECRET_RETIRED = date(2027, 3, 3)
"""The day on which Mixpanel takes project API secrets no more."""


_SPELLED = re.compile("[a-z_]{1,20}")
_OF_A_PROJECT = frozenset({"token", "service_account", "service_secret", "project_id", "api_secret", "region", "url"})


_MIXPANEL = tuple(f"mixpanel_{word}" for word in (*_OF_A_PROJECT, "projects", "keys", "objected"))
"""What config.yaml has beside the fields of `Options`."""


@dataclass(frozen=True)
class Project:
    """One Mixpanel project: where events go and who we say we are (`auth`, the Authorization header).

    Changes of profiles have the `token` in them, and no header.
    """

    name: str
    url: str
    auth: Secret | None = None
    kind: str = "none"
    project_id: str = ""
    hint: str = ""
    token: Secret | None = None

    @property
    def retiring(self) -> bool:
        """Whether it works only until Mixpanel ends project API secrets."""
        return self.kind == "api_secret"


class Options(msgspec.Struct, frozen=True):
    """Everything about delivery that is not an event."""

    default: Project
    projects: Mapping[str, Project] = {}
    keys: tuple[str, ...] = ("*",)
    withhold_objected: bool = True
    batch_events: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 2000
    batch_bytes: Annotated[int, msgspec.Meta(ge=10_000, le=10_000_000)] = 2_000_000
    linger: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.0
    in_flight: Annotated[int, msgspec.Meta(ge=1, le=20)] = 4
    timeout: Annotated[float, msgspec.Meta(ge=0.1, le=300)] = 30.0
    backoff_first: Annotated[float, msgspec.Meta(ge=0.001, le=60)] = 2.0
    backoff_most: Annotated[float, msgspec.Meta(ge=0.001, le=3600)] = 60.0
    jitter_least: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.0
    jitter_most: Annotated[float, msgspec.Meta(ge=0, le=60)] = 5.0
    refused_retry: Annotated[float, msgspec.Meta(ge=0.01, le=3600)] = 60.0
    patience: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 30.0
    dead_letters_max: Annotated[int, msgspec.Meta(ge=100, le=10_000_000)] = 100_000


def read_options(settings: Mapping[str, Any]) -> Options:
    """Options from config.yaml's values.

    Raises:
        SettingsError: all values that cannot work; no secret is in it.
    """
    problems: list[str] = []
    shared = {"mixpanel_region": settings.get("mixpanel_region"), "mixpanel_url": settings.get("mixpanel_url")}
    default, projects = Project(DEFAULT, ""), {}
    try:
        default = _project(DEFAULT, settings)
        for key, value in _table(settings.get("mixpanel_projects")).items():
            projects[str(key)] = _project(str(key), {**shared, **_prefixed(value, str(key))})
    except SettingsError as error:
        problems.append(str(error))
    objected = settings.get("mixpanel_objected") or "withhold"
    if objected not in ("withhold", "send"):
        problems.append(f"MIXPANEL_OBJECTED is {objected!r}; it may be withhold or send")
    return load_settings(
        Options, settings, problems=problems, others=(*OF_EVERY_SERVICE, *_MIXPANEL), default=default,
        projects=projects, keys=tuple(words(settings.get("mixpanel_keys") or "*")) or ("*",),
        withhold_objected=objected == "withhold",
    )  # fmt: skip


def _project(name: str, values: Mapping[str, Any]) -> Project:
    def text(key: str) -> str:
        return str(values.get(f"mixpanel_{key}") or "").strip()

    url = text("url") or _host(text("region"))
    _check_url(name, url)
    url = url.rstrip("/").removesuffix("/import")
    token = Secret(text("token")) if text("token") else None
    account, secret, project_id = text("service_account"), text("service_secret"), text("project_id")
    if account or secret:
        if not (account and secret and project_id):
            raise SettingsError(
                f"Project {name}: a service account needs MIXPANEL_SERVICE_ACCOUNT, MIXPANEL_SERVICE_SECRET "
                "and MIXPANEL_PROJECT_ID"
            )
        return Project(name, url, _basic(account, secret), "service_account", project_id, token=token)
    # The token goes before the API secret: both may import, and only the token still does after the retirement.
    if token:
        return Project(name, url, _basic(token.reveal()), "token", project_id, token=token)
    if api_secret := text("api_secret"):
        return Project(name, url, _basic(api_secret), "api_secret", project_id)
    hint = "set MIXPANEL_TOKEN (Mixpanel: Settings, Project, Project Token), or a service account, and run it again"
    return Project(name, url, hint=hint)


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    # No part of it is told: there may be a password in any.
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(
            f"MIXPANEL_URL of project {name} does not begin with https:// and a host name; write a full URL"
        )
    if "@" in parts.netloc:
        raise SettingsError(
            f"MIXPANEL_URL of project {name} contains a user or a password, which cannot be sent beside Mixpanel's own "
            "credentials; remove them and the @ from the URL"
        )


def _basic(name: str, password: str = "") -> Secret:
    return Secret("Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())


def _host(region: str) -> str:
    region = region.lower() or "us"
    if region not in HOSTS:
        raise SettingsError(f"MIXPANEL_REGION={region!r} is not known; write one of {', '.join(HOSTS)}")
    return HOSTS[region]


def _table(value: Any) -> Mapping[str, Any]:
    if not value:
        return {}
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            # The text holds tokens: the decoder's own message, which quotes it, stays out of ours.
            raise SettingsError('MIXPANEL_PROJECTS is not JSON; write {"<projectId>": {"token": "…"}, …}') from None
    if not isinstance(value, Mapping):
        raise SettingsError('MIXPANEL_PROJECTS must be an object, such as {"<projectId>": "<token>"}')
    if DEFAULT in value:
        raise SettingsError(
            f"MIXPANEL_PROJECTS: {DEFAULT} is not a projectId; set MIXPANEL_TOKEN for all other projects"
        )
    return value


def _prefixed(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, str):
        return {"mixpanel_token": value}
    if not isinstance(value, Mapping):
        raise SettingsError(f'MIXPANEL_PROJECTS: {name} must be a token or an object such as {{"token": "…"}}')
    entries = {str(key).lower().removeprefix("mixpanel_"): entry for key, entry in value.items()}
    if unknown := sorted(set(entries) - _OF_A_PROJECT):
        # Somebody may have put a token in the place of a name: what does not look like one is not shown.
        shown = ", ".join(key if _SPELLED.fullmatch(key) else "…" for key in unknown)
        raise SettingsError(f"MIXPANEL_PROJECTS: {name} has {shown}; known keys are {', '.join(sorted(_OF_A_PROJECT))}")
    return {f"mixpanel_{key}": entry for key, entry in entries.items()}
