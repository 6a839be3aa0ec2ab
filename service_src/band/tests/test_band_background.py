"""Background loops: nothing but their cancellation ends them, and what goes wrong in them is seen."""

# ruff: noqa: ASYNC110 - waits poll what has no event

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from band import background
from band.background import failing_loops, process_loops, run_forever
from band.service.health import read_health
from band.service.lifecycle import Service
from band.stream.listener import StreamListener
from band.telemetry.tracebacks import raised_at


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 0.005)


@pytest.fixture
async def begin() -> AsyncIterator[Callable[..., asyncio.Task[None]]]:
    """Start loops as tasks; they are cancelled at the end."""
    tasks: list[asyncio.Task[None]] = []

    def start(name: str, step: Callable[[], Awaitable[object]], **options: float) -> asyncio.Task[None]:
        tasks.append(asyncio.ensure_future(run_forever(name, step, **options)))
        return tasks[-1]

    yield start
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def test_a_loop_goes_on_after_an_exception_and_tells_of_it_until_a_step_succeeds(begin, capsys):
    """The failure is logged with its traceback, counted by loop and shown with file and line, until all is well."""
    broken, turns = asyncio.Event(), []
    broken.set()

    async def step() -> None:
        turns.append(broken.is_set())
        if broken.is_set():
            raise ValueError("see redis://:hunter2@host/0")
        await asyncio.sleep(0.001)

    before = process_loops.failures().get("lab", 0)
    task = begin("lab", step)
    await until(lambda: len(turns) >= 2)
    reason = failing_loops()["lab"]
    assert re.fullmatch(r"ValueError: see redis://:\*\*\*@host/0 \(tests/test_band_background\.py:\d+\)", reason)
    assert process_loops.failures()["lab"] >= before + 1
    broken.clear()
    await until(lambda: not failing_loops())
    assert not task.done()
    printed = capsys.readouterr().out
    assert "background_loop_failed" in printed
    assert "Traceback" in printed


async def test_the_pause_between_failures_grows_and_a_success_makes_it_short_again(begin, monkeypatch):
    """Backoff doubles with each failure in a row; the step after a success that fails waits the first pause."""
    pauses: list[float] = []
    outcomes = [False, False, False, True, False]
    done = asyncio.Event()

    async def sleep(seconds: float, _real=asyncio.sleep) -> None:
        pauses.append(seconds)
        await _real(0)

    async def step() -> None:
        if not outcomes:
            done.set()
            await asyncio.Event().wait()
        if not outcomes.pop(0):
            raise OSError

    monkeypatch.setattr(background, "FIRST_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(background.asyncio, "sleep", sleep)
    begin("lab", step, pause_seconds=7.0)
    await done.wait()
    first, second, third, success, again = pauses
    assert 0.5 <= first <= 1.0 <= second <= 2.0 <= third <= 4.0
    assert success == 7.0
    assert 0.5 <= again <= 1.0


async def test_cancelling_the_task_ends_the_loop_and_forgets_its_failure(begin):
    """A loop that is stopped is nothing that fails."""

    async def step() -> None:
        raise RuntimeError

    task = begin("lab", step)
    await until(failing_loops)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert failing_loops() == {}


async def test_a_cancellation_that_leaks_out_of_a_step_does_not_end_the_loop(begin):
    """A step that waits for something which others cancel raises CancelledError although nobody stops the loop."""
    turns = []

    async def step() -> None:
        turns.append(1)
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lost.cancel()
        await lost

    task = begin("lab", step)
    await until(lambda: len(turns) >= 2)
    assert not task.done()
    assert failing_loops()["lab"].startswith("CancelledError")


async def test_a_step_that_never_returns_counts_as_recovered_after_a_while(begin, monkeypatch):
    """A step that reads a stream for hours is a success although it does not come back."""
    monkeypatch.setattr(background, "RECOVERED_AFTER_SECONDS", 0.2)
    turns = []

    async def step() -> None:
        turns.append(1)
        if len(turns) == 1:
            raise OSError("cut off")
        await asyncio.Event().wait()

    begin("lab", step)
    await until(lambda: len(turns) == 2)
    assert "lab" in failing_loops()
    await until(lambda: not failing_loops())


async def test_a_step_that_does_not_wait_leaves_the_others_their_turn(begin):
    """A step that returns at once does not take the event loop for itself."""

    async def step() -> None:
        return

    begin("lab", step)
    await asyncio.sleep(0.01)


async def test_failures_are_a_counter_by_loop(begin):
    """Prometheus sees the failures of each loop."""

    async def step() -> None:
        raise RuntimeError

    begin("lab_metric", step)
    await until(failing_loops)
    assert re.search(
        rb'band_background_loop_failures_total\{loop="lab_metric"\} [1-9]', Service(process_loops).metrics.render()
    )


def test_the_place_of_an_exception_is_in_the_authors_code():
    """An exception that a library raises is told of by the line that called the library."""
    import json

    try:
        json.loads("{")
    except ValueError as error:
        found = raised_at(error)
    assert found.startswith("tests/test_band_background.py:")
    assert raised_at(ValueError()) == ""


async def test_a_loop_that_breaks_is_told_of_and_tried_again(run_service, peer, eventually, monkeypatch):
    """An unexpected exception in the listener's loop ends nothing: health says which loop fails and where."""
    raw = await peer()
    consume = StreamListener._consume
    broken = True

    async def break_or_consume(self):
        if broken:
            raise RuntimeError("the listener broke")
        await consume(self)

    monkeypatch.setattr(StreamListener, "_consume", break_or_consume)
    service, got = Service(), []

    @service.expose.listener()
    async def broadcast(n, **event):
        got.append(n)

    await run_service(service, name="listen", events_from="0")
    await eventually(service.loops.failing)
    told = await read_health(service.registry, service.link)
    assert told["status"] == "degraded"
    reason = told["checks"]["background"]["reason"]
    assert re.search(r"loop failing: events: RuntimeError: the listener broke \(\S+:\d+\)", reason)
    broken = False
    await raw.command("XADD", "events", "*", "event", '{"n": 1}')
    await eventually(lambda: got == [1])
