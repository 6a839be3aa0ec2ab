"""The supervisor of front's workers: starts, restarts and stops them. It has no event loop and accepts no events.

Each worker is a fork, so that all share the memory of imported modules. Each has its own listening socket on the event
port, among which the kernel spreads connections. The supervisor keeps all of them open, so that connections wait
instead of being refused while a worker is restarted.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Final

from band import logger
from band.platform import exponential
from front.http1.server import listening_socket
from front.process import WorkerProcess

SIGNALS: Final = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
FIRST_PAUSE_SECONDS: Final = 0.1
MAX_PAUSE_SECONDS: Final = 5.0
STEADY_SECONDS: Final = 10.0
"""A worker that lived so long is restarted at once; one that did not, after a pause that doubles."""
MAX_FAILURES: Final = 6
"""After so many short lives of one worker in a row the supervisor ends too: whoever runs front should know."""


class _Worker:
    """One worker, whichever process it is now."""

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self.pid = 0
        self.started_at = 0.0
        self.failures = 0
        self.start_at = 0.0


class Supervisor:
    """Keeps `count` workers running until SIGTERM or SIGINT, which stops all of them gracefully."""

    def __init__(
        self,
        work: Callable[[WorkerProcess], None],
        count: int,
        host: str,
        port: int,
        stop_within: float,
        each_turn: Callable[[], None] = lambda: None,
    ) -> None:
        """`work` runs a worker; `each_turn` is called once a minute or more often. OSError if the port is in use."""
        self._work = work
        self._each_turn = each_turn
        self._stop_within = stop_within
        self._alive, self._keep = os.pipe()
        group = f"rockstat-front-{os.getpid()}"
        self._workers: list[_Worker] = []
        for number in range(count):
            listening = listening_socket(host, port, shared=True)
            port = int(listening.getsockname()[1])  # port 0: the others use the one that the first got
            self._workers.append(_Worker(WorkerProcess(number, count, group, listening, self._alive)))
        self._stopping_since = 0.0
        self._status = 0

    def run(self) -> int:
        """Run until a signal; returns the exit status."""
        for number in SIGNALS:
            signal.signal(number, _ignore)  # the first process of a container receives only signals with a handler
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        gc.collect()
        gc.freeze()  # memory until here is shared by all; garbage collection would copy it
        while True:
            self._each_turn()
            self._start_due()
            heard = signal.sigtimedwait(SIGNALS, self._patience())
            if heard is not None and heard.si_signo != signal.SIGCHLD:
                self._stop(0)
            self._reap()
            if self._stopping_since:
                running = [worker for worker in self._workers if worker.pid]
                if not running:
                    return self._status
                if time.monotonic() > self._stopping_since + self._stop_within:
                    for worker in running:
                        os.kill(worker.pid, signal.SIGKILL)

    # --- starting

    def _start_due(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if not worker.pid and not self._stopping_since and worker.start_at <= now:
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        worker.started_at = time.monotonic()
        worker.pid = os.fork()
        if worker.pid == 0:
            self._become(worker.process)

    def _become(self, own: WorkerProcess) -> None:
        """Run as a worker; never returns."""
        status = 1
        try:
            os.close(self._keep)
            for worker in self._workers:
                if worker.process.number != own.number and worker.process.listening is not None:
                    worker.process.listening.close()
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            self._work(own)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                sys.stderr.write(f"{end.code}\n")
        except BaseException:  # noqa: BLE001 - nothing of a worker may run on as the supervisor
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    # --- ending

    def _patience(self) -> float:
        """Return seconds until something is to be done even if no signal comes."""
        if self._stopping_since:
            return max(0.05, self._stopping_since + self._stop_within - time.monotonic())
        waiting = [worker.start_at for worker in self._workers if not worker.pid]
        return max(0.01, min(waiting, default=time.monotonic() + 60.0) - time.monotonic())

    def _stop(self, status: int) -> None:
        if self._stopping_since:
            return
        self._stopping_since = time.monotonic()
        self._status = status
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, signal.SIGTERM)

    def _reap(self) -> None:
        by_pid = {worker.pid: worker for worker in self._workers if worker.pid}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in by_pid:
                self._ended(by_pid[pid], os.waitstatus_to_exitcode(status))

    def _ended(self, worker: _Worker, code: int) -> None:
        worker.pid = 0
        now = time.monotonic()
        if self._stopping_since:
            if code:
                self._status = self._status or 1
            return
        lived = now - worker.started_at
        worker.failures = 0 if lived >= STEADY_SECONDS else worker.failures + 1
        failures = worker.failures
        pause = exponential(failures - 1, FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS) if failures else 0.0
        worker.start_at = now + pause
        logger.error(
            "worker_ended", worker=worker.process.number, code=code, lived_s=round(lived, 1),
            start_in_s=round(pause, 2), failures=failures,
        )  # fmt: skip
        if failures >= MAX_FAILURES:
            logger.error("workers_given_up", worker=worker.process.number, hint="see its own last lines above")
            self._stop(1)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing: `sigtimedwait` receives the signal."""
