"""Background work: the scheduler, threads and the crontab."""

# ruff: noqa: ASYNC110 - waits poll what has no event

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
import time

from band.service.jobs import Scheduler, blocking


async def test_job_runs_and_can_be_closed():
    """spawn gives a job; closing it cancels the coroutine, which may clean up."""
    scheduler = Scheduler()
    seen = []

    async def work():
        try:
            seen.append("begun")
            await asyncio.sleep(60)
        finally:
            seen.append("ended")

    job = await scheduler.spawn(work())
    await asyncio.sleep(0.01)
    assert scheduler.active_count == 1
    await job.close()
    assert seen == ["begun", "ended"]
    assert scheduler.active_count == 0
    await scheduler.close()


async def test_failure_of_one_job_harms_no_other(capsys):
    """A job that raises is logged; the others and later ones run."""
    scheduler = Scheduler()
    done = asyncio.Event()

    async def fail():
        raise ValueError("broken job")

    async def work():
        await asyncio.sleep(0.05)
        done.set()

    await scheduler.spawn(fail())
    await scheduler.spawn(work())
    async with asyncio.timeout(5):
        await done.wait()
    await scheduler.close()
    assert "broken job" in capsys.readouterr().out


async def test_jobs_beyond_the_limit_wait_their_turn():
    """At most `limit` run at once; the rest follow."""
    scheduler = Scheduler(limit=2)
    running = peak = ended = 0

    async def work():
        nonlocal running, peak, ended
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.02)
        running -= 1
        ended += 1

    for _ in range(6):
        await scheduler.spawn(work())
    async with asyncio.timeout(5):
        while ended < 6:
            await asyncio.sleep(0.01)
    assert peak == 2
    await scheduler.close()


async def test_spawn_tasks_takes_functions_and_coroutines():
    """async functions, plain functions and coroutines."""
    scheduler = Scheduler()
    seen = []

    async def one():
        seen.append(1)

    jobs = await scheduler.spawn_tasks([one, lambda: seen.append(2), one()])
    await asyncio.gather(*(job.wait() for job in jobs))
    assert sorted(seen) == [1, 1, 2]
    await scheduler.close()


async def test_blocking_runs_in_a_thread_and_leaves_the_loop_free():
    """The loop goes on while a blocking function works; results, errors and context variables pass."""
    who = contextvars.ContextVar("who", default="nobody")

    @blocking()
    def work(seconds, *, fail=False):
        time.sleep(seconds)
        if fail:
            raise ValueError("in the thread")
        return threading.current_thread() is threading.main_thread(), who.get()

    who.set("me")
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    ticker = asyncio.create_task(tick())
    assert await work(0.2) == (False, "me")
    ticker.cancel()
    assert ticks > 3
    try:
        await work(0, fail=True)
    except ValueError as error:
        assert str(error) == "in the thread"
    assert work.__name__ == "work"


async def test_a_function_that_raises_ends_no_other_job():
    """`spawn_tasks` calls functions within their jobs: a failure is logged, and at the limit they wait."""
    scheduler, called = Scheduler(limit=1), []

    def fail():
        called.append("fail")
        raise ValueError("wrong")

    jobs = await scheduler.spawn_tasks([fail, lambda: called.append("next")])
    assert called == []
    for job in jobs:
        with contextlib.suppress(ValueError):
            await job.wait()
    assert called == ["fail", "next"]
    await scheduler.close()
