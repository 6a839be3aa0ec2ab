"""The files of a folder tree, and the hash of its contents: the same on the controller and on a host."""

from __future__ import annotations

import hashlib
import os

# Never part of an image: tests, caches, and leftovers of editors and builds.
SKIPPED_FOLDERS = frozenset({
    "tests", "test", "build", "dist", "node_modules", "__pycache__", ".git", ".venv", ".mypy_cache", ".pytest_cache",
    ".ruff_cache",
})  # fmt: skip
SKIPPED_ENDINGS = (".pyc", ".egg-info", ".swp", "~", ".env", ".env.local")


def files_of(root: str) -> list[str]:
    """Return the sorted relative paths of the files below a folder that can be part of an image."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(n for n in folders if n not in SKIPPED_FOLDERS and not n.endswith(SKIPPED_ENDINGS))
        found += [os.path.relpath(os.path.join(folder, n), root) for n in names if not n.endswith(SKIPPED_ENDINGS)]
    return sorted(found)


def add_file(digest: hashlib._Hash, name: str, path: str) -> None:
    """Feed one file into a hash: its name, whether it can be executed, its bytes (so not its times, nor its owner)."""
    with open(path, "rb") as file:
        content = file.read()
    executable = b"x" if os.stat(path).st_mode & 0o100 else b"-"
    digest.update(b"%s %s %d\n" % (name.encode(), executable, len(content)) + content)


def add_text(digest: hashlib._Hash, name: str, text: str) -> None:
    """Feed a named text into a hash."""
    content = text.encode()
    digest.update(b"%s = %d\n" % (name.encode(), len(content)) + content)
