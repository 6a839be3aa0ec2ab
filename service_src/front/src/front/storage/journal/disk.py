"""The disk calls of the journal, in one place, so that a test can make each of them fail."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class Disk:
    """Calls whose effect is on the disk when they return. Every method may raise OSError."""

    def create(self, path: Path) -> int:
        """Make a new file for appending; its descriptor. The file's name is not safe before `sync_folder`."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Wait until written data is on the disk."""
        os.fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file to `size` bytes."""
        os.ftruncate(descriptor, size)

    def close(self, descriptor: int) -> None:
        """Close a file."""
        os.close(descriptor)

    def sync_folder(self, folder: Path) -> None:
        """Wait until names that were made or removed in `folder` are on the disk."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class FolderLock:
    """A folder locked by one process while it lives; the kernel releases the lock when the process dies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor = -1

    def take(self) -> bool:
        """Make the folder where it is missing, and lock it; False when another process has it. May raise OSError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._descriptor = descriptor
        return True

    def give_back(self) -> None:
        """Unlock the folder."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1
