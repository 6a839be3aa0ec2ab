"""Errors of the director, each with the HTTP status it becomes.

DirectorError
├── BadParameter 400      a parameter is unknown, missing or of the wrong type
├── Refused 403           the access check refuses this request
│   ├── TokenMissing      … because it has no token
│   │   └── WrongToken    … or a wrong one
│   └── TooManyGuesses 429 wrong tokens from one address
├── NotFound 404          no such service, image, method or route
├── Conflict 409          not possible in this state
├── InvalidValue 422      a parameter has the right type and an impossible value
├── ServiceFailed 502     the build or the service failed; carries its last log lines
│   ├── BuildFailed
│   ├── DockerUnavailable    the Docker Engine did not do what it was asked
│   │   ├── DockerAway       … because it cannot be reached, or did not respond in time
│   │   └── DockerRefused    … and said why; `engine_status` is its HTTP status
│   │       └── PortTaken
│   └── RedisUnavailable
├── TimedOut 504          it did not respond in time
└── ConfigError           the settings are impossible; the director does not start
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

_PLAIN = re.compile(r"[\w.-]+")


class DirectorError(Exception):
    """Root of the tree. `message` says what and why, `hint` says what to do."""

    status = 500
    code = "internal"

    def __init__(self, message: str, hint: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def body(self) -> dict[str, Any]:
        """Return the JSON body of an error response: `{"error": {"code", "message", "hint", …facts}}`."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint, **self.facts}}


class BadParameter(DirectorError):
    """A parameter is unknown, missing or of the wrong type."""

    status, code = 400, "bad_parameter"


class Refused(DirectorError):
    """The guard does not let this request in."""

    status, code = 403, "refused"


class TokenMissing(Refused):
    """The request shows neither the token nor a session of the page."""

    code = "token_missing"


class WrongToken(TokenMissing):
    """The request shows a token, and it is not the one."""

    code = "token_wrong"


class TooManyGuesses(Refused):
    """An address sends too many wrong tokens; `retry_after` is in seconds."""

    status, code = 429, "too_many_guesses"

    def __init__(self, message: str, hint: str, retry_after: int) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class NotFound(DirectorError):
    """There is no such service, image, method or route."""

    status, code = 404, "not_found"


class Conflict(DirectorError):
    """The request is not possible in the current state."""

    status, code = 409, "conflict"


class InvalidValue(DirectorError):
    """A parameter has the right type and an impossible value."""

    status, code = 422, "invalid_value"


class ServiceFailed(DirectorError):
    """The service failed: `facts` carries `log` (last lines) and, when it ended, `exit_code`."""

    status, code = 502, "service_failed"


class BuildFailed(ServiceFailed):
    """The image could not be built: `facts["log"]` has the failing step's last lines."""

    code = "build_failed"


class DockerUnavailable(ServiceFailed):
    """The Docker Engine did not do what it was asked: it is unavailable, or refused."""

    code = "docker_failed"


class DockerAway(DockerUnavailable):
    """The Docker Engine cannot be reached, or did not respond in time: the same call may succeed later."""

    code = "docker_unavailable"


class DockerRefused(DockerUnavailable):
    """The Docker Engine responded with an error. `engine_status` is its HTTP status."""

    code = "docker_refused"

    def __init__(self, message: str, hint: str = "", *, engine_status: int, **facts: Any) -> None:
        super().__init__(message, hint, engine_status=engine_status, **facts)
        self.engine_status = engine_status


class PortTaken(DockerRefused):
    """A host port of the container is in use."""

    code = "port_taken"


class RedisUnavailable(ServiceFailed):
    """Redis does not respond."""

    code = "redis_unavailable"


class TimedOut(DirectorError):
    """It did not respond in time."""

    status, code = 504, "timeout"


class ConfigError(DirectorError):
    """The settings are impossible; the director does not start."""

    code = "config"


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """Return a hint with the nearest name; empty if none is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}? " if near else ""


def shown_key(key: str) -> str:
    """Return a parameter's name for a message; an odd one is hidden, as it may be a misplaced body with secrets."""
    return repr(key) if len(key) <= 80 and _PLAIN.fullmatch(key) else "with an invalid name"
