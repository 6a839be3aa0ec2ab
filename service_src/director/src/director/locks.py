"""One lock per service: its requests are processed one after another, and the reconciler waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

from director.errors import Conflict


class Locks:
    """Locks by name; unused ones are dropped."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: dict[str, int] = {}
        self._interruptible: dict[asyncio.Task[Any], str] = {}
        self._interrupted: dict[asyncio.Task[Any], str] = {}

    @property
    def busy(self) -> frozenset[str]:
        """Names whose lock is held or waited for."""
        return frozenset(self._locks)

    @asynccontextmanager
    async def hold(self, name: str, *, interruptible: bool = False) -> AsyncIterator[None]:
        """Wait for the lock of `name` and hold it in the block; see `interruptible`."""
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._users[name] = self._users.get(name, 0) + 1
        try:
            with self.interruptible(name) if interruptible else nullcontext():
                async with lock:
                    yield
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._locks[name], self._users[name]

    @contextmanager
    def interruptible(self, name: str) -> Iterator[None]:
        """Let `interrupt` cancel the block, which may hold the lock of `name` or wait for it.

        Raises:
            Conflict: it did.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - there is a loop
        self._interruptible[task] = name
        before = task.cancelling()
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._interrupted or task.uncancel() > before:
                raise  # not ours: the director is stopping
            what = f"{name} was {self._interrupted[task]} while it was being built or started"
            raise Conflict(what, f"GET /run/{name} runs it again", service=name) from None
        finally:
            del self._interruptible[task]
            self._interrupted.pop(task, None)

    def interrupt(self, name: str, how: str) -> bool:
        """Cancel the interruptible blocks of a name; return whether there were any. `how`: for the error."""
        tasks = [task for task, at in self._interruptible.items() if at == name and task not in self._interrupted]
        for task in tasks:
            self._interrupted[task] = how
            task.cancel()
        return bool(tasks)
