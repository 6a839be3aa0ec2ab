"""A data file that is refreshed on schedule, from sources in order of preference, and replaced as a whole."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar

from band import logger
from band.platform import Metrics, exponential, run_forever, wait_until_set
from geo.dataset.errors import BadData, DatasetError
from geo.dataset.http import Http
from geo.dataset.source import Fetched, Source, Visit
from geo.dataset.state import State, age_days, utc_now
from geo.dataset.store import Checker, Loaded, Loader, Store

T = TypeVar("T")
_FIRST_RETRY = 30.0
_EMPTY_MAX = 900.0
_SERVED_RETRY = 900.0
_JITTER = 0.1


class Dataset(Generic[T]):
    """A managed data file.

    ``value`` is None until there is a first file. From then on it is a complete and checked one, replaced in one
    assignment, so that no call sees half of it. ``source`` names where it came from, ``build_date`` is the ISO date of
    its build; both are empty if unknown. Run ``run()`` as a worker.

    Args:
        name: the name in logs, metrics and health.
        path: the file on a volume that lives longer than the service.
        sources: in order of preference; those behind the source of the current file are not asked.
        load: opens a file, in a thread; raises BadData.
        check: checks a new file, in a thread, before it is opened; raises BadData.
        refresh_hours: hours between two checks; after a failure the next one comes sooner, with backoff.
        stale_days: health warns when the data is older.
        http: the HTTP client, for tests.
    """

    def __init__(
        self,
        name: str,
        path: str | Path,
        sources: Sequence[Source],
        load: Loader[T],
        check: Checker | None = None,
        *,
        refresh_hours: float = 24.0,
        stale_days: float = 60.0,
        http: type[Http] = Http,
    ) -> None:
        self.name = name
        self.value: T | None = None
        self.source = ""
        self.build_date = ""
        self._path = Path(path)
        self._load, self._check = load, check
        self._sources = list(sources)
        self._refresh_seconds = max(60.0, refresh_hours * 3600)
        self._stale_days = stale_days
        self._http = http
        self._store: Store[T] | None = None
        self._opening: asyncio.Task[bool] | None = None
        self._about: dict[str, Any] = {}
        self._error = ""
        self._doing: Callable[[], str] = str
        self._lock = asyncio.Lock()
        self._woken = asyncio.Event()
        self._metrics: Metrics | None = None
        self._prefix = ""
        self._requests: Counter[str] = Counter()

    async def run(self) -> None:
        """Open the existing file unless it is open, then keep it up to date until cancelled."""
        if self.value is None:
            await self.open()
        await run_forever(f"dataset {self.name}", self._keep_fresh)

    async def _keep_fresh(self) -> None:
        await wait_until_set(self._woken, self._wait_seconds())
        self._woken.clear()
        await self.refresh()

    @property
    def wanted(self) -> bool:
        """Whether a source is enabled, or there is a file already."""
        return self.value is not None or bool(self._enabled())

    def wake(self) -> None:
        """Have ``run()`` ask the sources now instead of at the due time."""
        self._woken.set()

    def show(self, metrics: Metrics, prefix: str = "dataset") -> None:
        """Add metrics: requests to the sources, whether there is data, its source and its age."""
        self._metrics, self._prefix = metrics, prefix
        metrics.gauge(f"{prefix}_ready", lambda: float(self.value is not None), "Whether there is a database.")
        metrics.gauge(f"{prefix}_age_seconds", lambda: self._age() * 86_400, "Seconds since the database was built.")
        metrics.gauge(f"{prefix}_age_days", self._age, f"Deprecated, use band_{prefix}_age_seconds.")
        metrics.counter(
            f"{prefix}_source_requests", lambda: self._requests, "Requests to the sources, by result.", label="result"
        )
        metrics.gauge(f"{prefix}_source", self._in_use, "The source of the database in use is 1.", label="source")

    def _in_use(self) -> dict[str, float]:
        """Return 1 for the source in use, which may be a file that an operator put there, and 0 for the others."""
        shown = dict.fromkeys((source.name for source in self._sources), 0.0)
        return shown | {self.source: 1.0} if self.value is not None else shown

    def _age(self) -> float:
        age = age_days(self.build_date)
        return float("nan") if age is None else age

    def _count(self, result: str) -> None:
        self._requests[result] += 1
        if self._metrics is not None:
            former = f"{self._prefix}_questions_{result}"
            self._metrics.declare(former, f"Deprecated, use band_{self._prefix}_source_requests_total.")
            self._metrics.add(former)

    async def open(self) -> bool:
        """Open the existing file; return whether there is a value now. Bad data or a bad disk raises nothing.

        It continues if its caller is cancelled; a second caller waits for the same attempt.
        """
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    async def _open(self) -> bool:
        try:
            store = self._store = await asyncio.to_thread(Store, self._path, self._load, self._check)
            loaded = await asyncio.to_thread(store.open)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the file, the sources are asked for another
            self._error = f"{self._path}: {_in_words(error)}"
            logger.error("dataset_not_opened", dataset=self.name, error=self._error)
            return False
        if loaded is not None:
            self._take(store, loaded)
        return self.value is not None

    async def refresh(self) -> bool:
        """Ask the sources now; return whether there is new data. Failures are reported in health, not raised."""
        async with self._lock:
            if self._store is None or self._left_unopened():
                await self.open()
            store = self._store
            if store is None:
                return False
            errors = {self._path.name: self._error} if self._left_unopened() else {}
            taken = False
            try:
                async with self._http() as http:
                    taken = await self._ask_all(store, http, errors)
            except OSError as error:  # a full or read-only volume
                errors["volume"] = f"{self._path.parent}: {error.strerror or error}; free space or fix its owner"
            await self._finish(store, errors)
            return taken

    def _left_unopened(self) -> bool:
        """Whether there is a file that could not be opened for now: a bad one would have been put aside."""
        return self.value is None and self._path.is_file()

    async def _ask_all(self, store: Store[T], http: Http, errors: dict[str, str]) -> bool:
        for source in self._sources[: self._worst(store)]:
            if source.disabled():
                continue
            try:
                fetched_new = await self._ask(store, http, source)
            except OSError:
                raise  # the volume's fault: the next source would fail alike
            except Exception as error:  # noqa: BLE001 - whatever one source does, those behind it are asked
                errors[source.name] = text = _in_words(error)
                self._count("failed")
                logger.warning("dataset_source_failed", dataset=self.name, source=source.name, error=text)
                continue
            self._count("new" if fetched_new else "unchanged")
            return fetched_new
        return False

    def _worst(self, store: Store[T]) -> int:
        """Return how many sources are worth asking: none that ranks behind that of the file in use."""
        names = [source.name for source in self._sources]
        if self.value is None or store.state.source not in names:
            return len(names)
        return names.index(store.state.source) + 1

    async def _ask(self, store: Store[T], http: Http, source: Source) -> bool:
        last = store.validator(source.name)
        http.received, self._doing = 0, lambda: _downloading(source.name, http)
        try:
            with store.folder() as folder:
                fetched = await source.fetch(Visit(http, folder, last, store.spend))
                if fetched is None:
                    if last.refused:
                        raise BadData(f"still has the file that was refused: {last.refused}")
                    return False
                self._doing = lambda: f"checking the file from {source.name}"
                await self._install(store, source, fetched)
        finally:
            self._doing = str
        return True

    async def _install(self, store: Store[T], source: Source, fetched: Fetched) -> None:
        loaded = await asyncio.to_thread(store.install, source.name, fetched)
        self._take(store, loaded)
        logger.info(
            "dataset_new", dataset=self.name, source=source.name, origin=fetched.origin, build_date=self.build_date
        )

    def _take(self, store: Store[T], loaded: Loaded[T]) -> None:
        self.value, self._about, self._error = loaded.value, loaded.about, ""
        self.source, self.build_date = store.state.source, store.state.build_date[:10]

    async def _finish(self, store: Store[T], errors: dict[str, str]) -> None:
        state, now = store.state, utc_now()
        state.errors = errors
        state.failures = state.failures + 1 if errors else 0
        state.asked = self._enabled()
        state.checked_at = now.isoformat(timespec="seconds")
        state.next_check = (now + timedelta(seconds=self._pause(state.failures))).isoformat(timespec="seconds")
        try:
            await asyncio.to_thread(store.save)
        except OSError as error:
            logger.error("dataset_state_not_written", dataset=self.name, error=str(error))

    def _pause(self, failures: int) -> float:
        """Return the seconds to the next check: short while there is nothing, longer while an old file serves."""
        seconds = self._refresh_seconds
        if failures and self.value is None:
            seconds = exponential(failures - 1, _FIRST_RETRY, _EMPTY_MAX)
        elif failures:
            seconds = exponential(failures - 1, _SERVED_RETRY, seconds)
        return seconds * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - spreads load, guards nothing

    def _wait_seconds(self) -> float:
        """Return the seconds until the check that is due; 0 when settings have changed since the last one."""
        state = self._store.state if self._store else None
        if state is None:
            return _FIRST_RETRY
        if state.asked != self._enabled() or not state.next_check or (self.value is None and not state.failures):
            return 0.0
        due = (datetime.fromisoformat(state.next_check) - utc_now()).total_seconds()
        return min(max(0.0, due), self._refresh_seconds * (1 + _JITTER))

    def _enabled(self) -> list[str]:
        return [source.name for source in self._sources if not source.disabled()]

    def health(self) -> dict[str, Any]:
        """Return the facts of the file in use: ``status`` ok or degraded, source, dates, age in days, errors.

        ``download`` says, while a new file is downloaded or checked, from which source, and how many MB there are.
        """
        state, doing = self._store.state if self._store else None, self._doing()
        facts: dict[str, Any] = {"status": "ok" if self.value is not None else "degraded"}
        if self.value is None:
            facts["reason"] = "; ".join(filter(None, [self._error or "no database yet", doing]))
        if doing:
            facts["download"] = doing
        if state is None:
            return facts
        if self.value is not None:
            facts |= self._describe(state)
        facts |= {
            "checked_at": state.checked_at or None,
            "next_check": state.next_check or None,
            "last_error": next((f"{name}: {text}" for name, text in state.errors.items()), None),
            "errors": dict(state.errors),
            "disabled": {source.name: source.disabled() for source in self._sources if source.disabled()},
        }
        return facts

    def _describe(self, state: State) -> dict[str, Any]:
        age = age_days(state.build_date or state.fetched_at)
        facts: dict[str, Any] = {
            "source": state.source,
            "origin": state.origin,
            "build_date": self.build_date or None,
            "age_days": age,
            "size": state.size,
            "sha256": state.sha256,
            "fetched_at": state.fetched_at,
            **self._about,
        }
        if age is not None and age > self._stale_days:
            facts["warning"] = f"the data is {age / 30.44:.0f} months old"
        return facts


def _downloading(source: str, http: Http) -> str:
    """Return which download is in progress, by the source's name: its URL may hold a key. Empty if none is."""
    if not http.received:
        return ""
    of = f" of {http.expected / 1e6:.0f}" if http.expected else ""
    return f"downloading from {source}, {http.received / 1e6:.0f}{of} MB"


def _in_words(error: Exception) -> str:
    """Return what an error says; of one that nobody foresaw only where it came from: its text may hold a secret."""
    if isinstance(error, DatasetError | OSError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}; please report this"
