"""Background work: crontab, a thread, jobs that are closed, a worker and a clean-up."""

# ruff: noqa: ASYNC110 - as such services are written

import asyncio
import threading
import time

from band import blocking, cleanup, crontab, expose, logger, loop, scheduler, settings, worker

state = {"ticks": 0, "jobs": [], "ended": []}


@crontab("* * * * * *")
async def tick():
    state["ticks"] += 1


@blocking()
def heavy(seconds):
    time.sleep(seconds)
    return threading.current_thread() is threading.main_thread()


async def forever(name):
    try:
        while True:
            await asyncio.sleep(0.01)
    finally:
        state["ended"].append(name)


@worker()
async def startup():
    for name in settings.job_names:
        state["jobs"].append(await scheduler.spawn(forever(name)))


@expose()
async def close_one(**params):
    job = state["jobs"].pop()
    await job.close()
    return state["ended"]


@expose()
async def think(**params):
    in_main = await heavy(0.2)
    return {"in_main": in_main, "same_loop": asyncio.get_event_loop() is loop}


@expose()
async def ticks(**params):
    return state["ticks"]


@cleanup()
async def shutdown():
    logger.warn("ticker stops", len(state["jobs"]), ended=state["ended"])
