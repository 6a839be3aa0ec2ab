"""What an operator sets: where to send, with which credentials, how fast. Read once at start."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import msgspec

HOSTS = {
    "us": "https://api.mixpanel.com",
    "eu": "https://api-eu.mixpanel.com",
    "in": "https://api-in.mixpanel.com",
}
DEFAULT = "default"
"""The name of the project for what is in no table."""
SECRET_RETIRED = date(2027, 3, 3)
"""The day on which Mixpanel takes project API secrets no more."""


_SPELLED = re.compile("[a-z_]{1,20}")
_OF_A_PROJECT = frozenset({"token", "service_account", "service_secret", "project_id", "api_secret", "region", "url"})


class OptionsError(ValueError):
    """A setting has a value that cannot work; the text says which, and what to write. Never holds a secret."""


@dataclass(frozen=True)
class Project:
    """One Mixpanel project: where events go and who we say we are. No repr shows `auth`, the Authorization header."""

    name: str
    url: str
    auth: str | None = field(repr=False, default=None)
    kind: str = "none"
    project_id: str = ""
    hint: str = ""

    @property
    def retiring(self) -> bool:
        """Whether it works only until Mixpanel ends project API secrets."""
        return self.kind == "api_secret"


@dataclass(frozen=True)
class Options:
    """Everything about delivery that is not an event."""

    default: Project
    projects: Mapping[str, Project] = field(default_factory=dict)
    keys: tuple[str, ...] = ("*",)
    batch_events: int = 2000
    batch_bytes: int = 2_000_000
    linger: float = 1.0
    in_flight: int = 4
    timeout: float = 30.0
    backoff_first: float = 2.0
    backoff_most: float = 60.0
    jitter: tuple[float, float] = (1.0, 5.0)
    refused_retry: float = 60.0
    patience: float = 30.0
    dead_letters_max: int = 100_000
    withhold_objected: bool = True


def read_options(settings: Mapping[str, Any]) -> Options:
    """Options from config.yaml's values.

    Raises:
        OptionsError: a value cannot work.
    """
    default = _project(DEFAULT, settings)
    shared = {"mixpanel_region": settings.get("mixpanel_region"), "mixpanel_url": settings.get("mixpanel_url")}
    projects = {
        str(key): _project(str(key), {**shared, **_prefixed(value, str(key))})
        for key, value in _table(settings.get("mixpanel_projects")).items()
    }
    return Options(
        default=default,
        projects=projects,
        keys=tuple(str(settings.get("mixpanel_keys") or "*").replace(",", " ").split()) or ("*",),
        withhold_objected=_withholds(settings.get("mixpanel_objected") or "withhold"),
        batch_events=int(_number(settings, "batch_events", 2000, 1, 2000)),
        batch_bytes=int(_number(settings, "batch_bytes", 2_000_000, 10_000, 10_000_000)),
        linger=_number(settings, "linger", 1.0, 0, 60),
        in_flight=int(_number(settings, "in_flight", 4, 1, 20)),
        timeout=_number(settings, "timeout", 30, 0.1, 300),
        backoff_first=_number(settings, "backoff_first", 2, 0.001, 60),
        backoff_most=_number(settings, "backoff_most", 60, 0.001, 3600),
        jitter=(_number(settings, "jitter_least", 1, 0, 60), _number(settings, "jitter_most", 5, 0, 60)),
        refused_retry=_number(settings, "refused_retry", 60, 0.01, 3600),
        patience=_number(settings, "patience", 30, 0.1, 3600),
        dead_letters_max=int(_number(settings, "dead_letters_max", 100_000, 100, 10_000_000)),
    )


def _project(name: str, values: Mapping[str, Any]) -> Project:
    def text(key: str) -> str:
        return str(values.get(f"mixpanel_{key}") or "").strip()

    url = text("url") or _host(text("region"))
    if not url.startswith(("http://", "https://")):
        raise OptionsError(f"MIXPANEL_URL of project {name} does not begin with https://; write a whole address")
    url = url.rstrip("/").removesuffix("/import")
    account, secret, project_id = text("service_account"), text("service_secret"), text("project_id")
    if account or secret:
        if not (account and secret and project_id):
            raise OptionsError(
                f"Project {name}: a service account needs MIXPANEL_SERVICE_ACCOUNT, MIXPANEL_SERVICE_SECRET "
                "and MIXPANEL_PROJECT_ID"
            )
        return Project(name, url, _basic(account, secret), "service_account", project_id)
    # The token goes before the API secret: both may import, and only the token still does after the retirement.
    if token := text("token"):
        return Project(name, url, _basic(token), "token", project_id)
    if api_secret := text("api_secret"):
        return Project(name, url, _basic(api_secret), "api_secret", project_id)
    hint = "set MIXPANEL_TOKEN (Mixpanel: Settings, Project, Project Token), or a service account, and run it again"
    return Project(name, url, hint=hint)


def _basic(name: str, password: str = "") -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def _host(region: str) -> str:
    region = region.lower() or "us"
    if region not in HOSTS:
        raise OptionsError(f"MIXPANEL_REGION={region!r} is not known; write one of {', '.join(HOSTS)}")
    return HOSTS[region]


def _table(value: Any) -> Mapping[str, Any]:
    if not value:
        return {}
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            # The text holds tokens: the decoder's own message, which quotes it, stays out of ours.
            raise OptionsError('MIXPANEL_PROJECTS is no JSON; write {"<projectId>": {"token": "…"}, …}') from None
    if not isinstance(value, Mapping):
        raise OptionsError('MIXPANEL_PROJECTS must be an object, such as {"<projectId>": "<token>"}')
    if DEFAULT in value:
        raise OptionsError(f"MIXPANEL_PROJECTS: {DEFAULT} is no projectId; set MIXPANEL_TOKEN for all other projects")
    return value


def _prefixed(value: Any, name: str) -> dict[str, Any]:
    if isinstance(value, str):
        return {"mixpanel_token": value}
    if not isinstance(value, Mapping):
        raise OptionsError(f'MIXPANEL_PROJECTS: {name} must be a token or an object such as {{"token": "…"}}')
    entries = {str(key).lower().removeprefix("mixpanel_"): entry for key, entry in value.items()}
    if unknown := sorted(set(entries) - _OF_A_PROJECT):
        # Somebody may have put a token in the place of a name: what does not look like one is not shown.
        shown = ", ".join(key if _SPELLED.fullmatch(key) else "…" for key in unknown)
        raise OptionsError(f"MIXPANEL_PROJECTS: {name} has {shown}; known are {', '.join(sorted(_OF_A_PROJECT))}")
    return {f"mixpanel_{key}": entry for key, entry in entries.items()}


def _number(settings: Mapping[str, Any], key: str, default: float, least: float, most: float) -> float:
    value = settings.get(key)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise OptionsError(f"{key}={value!r} is no number; write one from {least:g} to {most:g}") from None
    if not least <= number <= most:
        raise OptionsError(f"{key}={value!r} is out of range; write a number from {least:g} to {most:g}")
    return number


def _withholds(word: Any) -> bool:
    if word not in ("withhold", "send"):
        raise OptionsError(f"MIXPANEL_OBJECTED is {word!r}; it may be withhold or send")
    return bool(word == "withhold")
