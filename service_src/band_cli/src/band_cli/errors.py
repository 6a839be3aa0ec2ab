"""The errors of the command, each with its exit code.

CliError (1)
├── BadInput (2)        a parameter or the configuration is wrong
├── NoDirector (3)      the director cannot be reached, or does not let us in
└── Refused (1)         the director, or a service, said no
"""

from __future__ import annotations

from typing import Any, ClassVar

UNWELL = 4
"""Exit code of `status` and `doctor` when something is wrong."""


class CliError(Exception):
    """The command failed: what happened, and what to do."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "", code: str = "failed", log: list[str] | None = None) -> None:
        super().__init__(message)
        self.message, self.hint, self.code, self.log = message, hint, code, log or []

    def body(self) -> dict[str, Any]:
        """Return the error in the form of the director's API."""
        facts: dict[str, Any] = {"code": self.code, "message": self.message, "hint": self.hint}
        return {"error": {**facts, "log": self.log} if self.log else facts}


class BadInput(CliError):
    """A parameter, a file or the configuration cannot be used."""

    exit_code: ClassVar[int] = 2


class NoDirector(CliError):
    """The director does not respond, or refuses the token."""

    exit_code: ClassVar[int] = 3


class Refused(CliError):
    """The director responded with an error."""
