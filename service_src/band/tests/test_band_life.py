"""The life of a service as a process: start, signals, drain, exit status."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

GENEROUS = 15.0
SRC = Path(__file__).parents[1] / "src"


def get(process, path, timeout=5):
    with urllib.request.urlopen(f"http://127.0.0.1:{process.port}{path}", timeout=timeout) as answer:
        return answer.status, answer.read()


def wait_for(process, path="/health", status=200):
    """Wait until the service answers on its port."""
    deadline = time.monotonic() + GENEROUS
    while time.monotonic() < deadline:
        try:
            return get(process, path)
        except urllib.error.HTTPError as error:
            if error.code == status:
                return error.code, error.read()
        except OSError:
            pass
        assert process.process.poll() is None, process.output
        time.sleep(0.05)
    raise AssertionError(process.output)


CODE = """
import asyncio, time
from band import blocking, cleanup, expose, health, logger, rpc, worker

@expose()
async def echo(**params):
    return params

@expose()
async def slow(seconds):
    await asyncio.sleep(float(seconds))
    return "finished"

@worker()
async def work():
    logger.info("worker ran", 1)

@cleanup()
async def tidy():
    logger.info("cleanup ran")

@cleanup()
def broken():
    raise RuntimeError("cleanup broke")
"""


async def test_sigterm_ends_with_0_after_cleanup(redis, spawn_service):
    """SIGTERM: clean-ups run (a broken one keeps nobody from running), the drain is told, the status is 0."""
    process = spawn_service(CODE, REDIS_DSN=redis.dsn, LOG_LEVEL="info")
    wait_for(process)
    assert process.terminate() == 0
    for part in ("worker ran", "service_started", "cleanup ran", "cleanup broke", "service_stopped", "SIGTERM"):
        assert part in process.output, process.output


async def test_call_in_progress_is_answered_before_the_end(redis, spawn_service, peer, eventually):
    """A call that began before SIGTERM gets its answer; one that takes too long gets an error that says so."""
    process = spawn_service(CODE, config="name: labsvc\nstop_timeout: 4\n", REDIS_DSN=redis.dsn)
    wait_for(process)
    asker = await peer("asker")

    async def heard():
        return await asker.publish("labsvc", {"jsonrpc": "2.0", "method": "labsvc:echo:nobody", "params": {}}) == 1

    await eventually(heard)
    for number, seconds in (("short", 0.4), ("long", 600)):
        message = {"jsonrpc": "2.0", "method": "labsvc:slow:asker", "params": {"seconds": seconds}, "id": number}
        await asker.publish("labsvc", message)
    await asker.ask_json("labsvc", {"jsonrpc": "2.0", "method": "labsvc:echo:asker", "params": {}, "id": "both began"})
    process.process.send_signal(signal.SIGTERM)
    answers = [await asker.next_json() for _ in range(2)]
    assert [answer["id"] for answer in answers] == ["short", "long"]
    assert answers[0]["result"] == "finished"
    assert "cancelled" in answers[1]["error"]["data"]["message"]
    assert process.process.wait(GENEROUS) == 0
    assert "calls_cut_off=1" in process.output


def test_redis_away_at_start_is_no_reason_to_die(own_redis, spawn_service):
    """The port answers, health says degraded and why; when Redis comes, the service is there within seconds."""
    server = own_redis(start=False)
    process = spawn_service(CODE, REDIS_DSN=server.dsn)
    status, body = wait_for(process)
    assert status == 200
    assert b'"status":"degraded"' in body
    server.start()
    deadline = time.monotonic() + GENEROUS
    while b'"status":"degraded"' in get(process, "/health")[1]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert b"band_redis_reconnects_total 0.0" in get(process, "/metrics")[1]
    assert process.terminate() == 0


@pytest.mark.parametrize(
    ("config", "env", "words"),
    [
        ("name: labsvc\nb: [1\n", {}, ["config.yaml, line 2: expected ',' or ']', but got '<stream end>'"]),
        ("name: labsvc\njobs_limit: many\n", {}, ["jobs_limit='many'"]),
        ("name: labsvc\n", {"PORT": "http"}, ["PORT"]),
        ("name: labsvc\n", {"REDIS_DSN": "http://:hunter2@h"}, ["REDIS_DSN", "scheme"]),
    ],
)
def test_settings_that_cannot_be_used_end_with_1_and_words(spawn_service, config, env, words):
    """One line says what is wrong; no traceback, no secret."""
    process = spawn_service(CODE, config=config, **env)
    assert process.process.wait(GENEROUS) == 1
    for word in words:
        assert word in process.output
    assert "Traceback" not in process.output
    assert "hunter2" not in process.output


def test_a_registration_that_cannot_work_ends_with_1_and_words(spawn_service):
    """One line, as for settings."""
    code = """
from band import Event, expose

@expose()
def events(first: Event, second: Event):
    pass
"""
    process = spawn_service(code)
    assert process.process.wait(GENEROUS) == 1
    assert "events has several event parameters" in process.output
    assert "Traceback" not in process.output


def test_blocking_function_that_hangs_does_not_hold_up_the_end(redis, spawn_service):
    """A thread cannot be told to stop: the process ends without it, and says so."""
    code = """
import time
from band import blocking, worker

@blocking()
def hang():
    print("in the thread", flush=True)
    time.sleep(600)

@worker()
async def work():
    await hang()
"""
    process = spawn_service(code, config="name: labsvc\nstop_timeout: 1\n", REDIS_DSN=redis.dsn)
    wait_for(process)
    assert process.terminate() == 0
    assert "in the thread" in process.output
    assert "threads_cut_off" in process.output


def test_a_loop_that_does_not_close_does_not_hold_up_the_end(redis, spawn_service):
    """uvloop waits for look-ups of names as it closes: 10 s and more where DNS is away, as it is when dockerd dies."""
    code = """
import time
import uvloop
import band.service.loop

class Loop(uvloop.Loop):
    def close(self):
        print("closing", flush=True)
        time.sleep(600)

band.service.loop._loop = Loop()
"""
    process = spawn_service(code, config="name: labsvc\nstop_timeout: 1\n", REDIS_DSN=redis.dsn)
    wait_for(process)
    assert process.terminate() == 0
    assert "closing" in process.output


def test_a_stop_cuts_a_setup_off(redis, spawn_service):
    """SIGTERM ends a setup that waits; clean-ups run, later setups do not begin."""
    code = """
import asyncio
from band import cleanup, setup

@setup()
async def hang():
    print("setup began", flush=True)
    await asyncio.sleep(600)

@setup()
def later():
    print("later setup began", flush=True)

@cleanup()
def tidy():
    print("cleanup ran", flush=True)
"""
    process = spawn_service(code, REDIS_DSN=redis.dsn)
    deadline = time.monotonic() + GENEROUS
    while "setup began" not in process.output:
        assert time.monotonic() < deadline, process.output
        time.sleep(0.02)
    assert process.terminate() == 0
    assert "cleanup ran" in process.output and "later setup began" not in process.output
    assert "setup_failed" not in process.output, "nobody has to look for a fault"


def test_hanging_cleanups_end_within_the_stop_time(redis, spawn_service):
    """Several clean-ups that hang share the stop time: Docker kills what takes longer."""
    code = "import asyncio\nfrom band import cleanup\n" + "".join(
        f"@cleanup()\nasync def hang{n}():\n    await asyncio.sleep(600)\n" for n in range(5)
    )
    process = spawn_service(code, config="name: labsvc\nstop_timeout: 1.5\n", REDIS_DSN=redis.dsn)
    wait_for(process)
    begun = time.monotonic()
    assert process.terminate() == 0
    assert time.monotonic() - begun < 5
    assert process.output.count("cleanup_failed") == 5


def test_crontab_and_the_loop_of_the_original(redis, spawn_service):
    """`crontab` as decorator fires on the service's loop, `loop` and `app` are there, jobs close."""
    code = """
import asyncio, contextlib
from band import app, crontab, expose, loop, scheduler, settings, worker
state = {"ticks": 0}

@crontab("* * * * * */1")
async def tick():
    state["ticks"] += 1
    state["same_loop"] = asyncio.get_running_loop() is loop

async def forever():
    try:
        await asyncio.sleep(600)
    finally:
        state["closed"] = True

@worker()
async def start():
    job = await scheduler.spawn(forever())
    await asyncio.sleep(0.05)
    await job.close()
    state["settings"] = [settings.name, settings.env, settings.missing]
    app["key"] = 1

@expose()
async def show():
    return state
"""
    process = spawn_service(code, REDIS_DSN=redis.dsn)
    wait_for(process)
    deadline = time.monotonic() + GENEROUS
    while b'"ticks":0' in (body := get(process, "/show")[1]) or b'"settings"' not in body:
        assert time.monotonic() < deadline, process.output
        time.sleep(0.1)
    assert b'"same_loop":true' in body
    assert b'"closed":true' in body
    assert b'"settings":["labsvc","development",null]' in body
    assert process.terminate() == 0


def test_a_crontab_that_raises_is_told_and_goes_on(redis, spawn_service):
    """Its failures are logged with the function, counted, and after three in a row in health."""
    code = """
from band import crontab

@crontab("* * * * * */1")
async def tick():
    raise ValueError("no")
"""
    process = spawn_service(code, REDIS_DSN=redis.dsn)
    wait_for(process)
    deadline = time.monotonic() + GENEROUS
    while b"crontab tick raises: ValueError: no (labsvc/main.py:6)" not in (body := get(process, "/health")[1]):
        assert time.monotonic() < deadline, process.output
        time.sleep(0.1)
    assert b'"status":"degraded"' in body
    assert b'band_handler_errors_total{kind="crontab",name="tick"}' in get(process, "/metrics")[1]
    assert "crontab_failed" in process.output
    assert process.terminate() == 0


def test_idle_service_is_small_and_quiet(redis, spawn_service):
    """Connected and idle: far under 2 % of a core, and a modest memory (the goals are 0.3 % and 45 MB)."""
    process = spawn_service(CODE, REDIS_DSN=redis.dsn)
    wait_for(process)
    time.sleep(1.5)
    before = process.cpu_seconds()
    time.sleep(3.0)
    assert (process.cpu_seconds() - before) / 3.0 < 0.02
    assert process.memory_mb() < 70
    assert process.terminate() == 0


def test_import_of_a_name_costs_only_that_name():
    """`from band import expose, settings, start_server` loads no redis-py, no aiojobs, no aiocron, no prometheus."""
    code = (
        "import sys; from band import expose, settings, start_server, logger, rpc, response; "
        "print([m for m in ('redis', 'aiojobs', 'aiocron', 'prometheus_client') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True, timeout=30, cwd="/"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_part_that_breaks_ends_the_process_with_1(redis, spawn_service):
    """When a task of the framework ends, the process says why and ends with 1, so that the director sees a crash."""
    code = """
import band.stream.listener
from band import expose

async def broken(self, address):
    raise RuntimeError("the listener broke")
band.stream.listener.StreamListener.run = broken

@expose.listener()
async def broadcast(**event):
    pass
"""
    process = spawn_service(code, REDIS_DSN=redis.dsn)
    assert process.process.wait(GENEROUS) == 1
    assert "the listener broke" in process.output
