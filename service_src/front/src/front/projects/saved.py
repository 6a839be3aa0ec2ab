"""The projects on front's own disk, for a start while Redis is unavailable: then keys are checked by the last ones."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from band import logger


class SavedProjects:
    """Reads and writes one worker's copy. It never raises: without a copy, events wait for no check."""

    def __init__(self, path: Path | None) -> None:
        """Without a path, nothing is saved."""
        self._path = path

    def read(self) -> dict[str, bytes] | None:
        """Return the documents by project; None if there are none, or they cannot be read."""
        if self._path is None:
            return None
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeError) as error:
            logger.warning("saved_projects_unreadable", path=str(self._path), reason=str(error)[:200])
            return None
        return {project: document.encode() for project, document in found.items()}

    def write(self, documents: Mapping[str, bytes]) -> None:
        """Replace the copy by these documents."""
        if self._path is None:
            return
        text = {project: document.decode("utf-8", "replace") for project, document in documents.items()}
        new = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(text))
                file.flush()
                os.fsync(descriptor)
            new.replace(self._path)
        except OSError as error:
            logger.warning("projects_not_saved", path=str(self._path), reason=error.strerror or str(error))
