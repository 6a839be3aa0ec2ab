"""Many calls in one message: each item has its own answer or error, whatever kind of function answers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from band.calls.middleware import RPC, Call
from band.errors import InvalidParams
from band.json_codec import decode_loosely, encode
from band.jsonrpc.batch import run_batch
from band.registry import Expose, Registry
from band.responses import response
from band.telemetry.metrics import Metrics

OUTER = Call(RPC, None, sender="front#1a2b3c4d", request_id=7)


def plain(n: int = 0) -> Any:
    """A plain function; each kind of item does something else."""
    if n == 1:
        raise KeyError("one")
    if n == 2:
        return object()  # has no JSON form
    if n == 3:
        return response.data({"n": 3})
    if n == 4:
        return asyncio.sleep(0.01, "late")
    if n == 5:
        return len(n)  # type: ignore[arg-type]
    return {"n": n, "text": "Ж"}


async def waits(n: int = 0) -> Any:
    """The same as a coroutine."""
    await asyncio.sleep(0)
    found = plain(n)
    return await found if asyncio.iscoroutine(found) else found


def prompt(n: int = 0) -> Any:
    """A coroutine that never waits."""

    async def answer() -> Any:
        found = plain(n)
        return await found if asyncio.iscoroutine(found) else found

    return answer()


ITEMS: list[Any] = [{"n": 0}, {"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}, {"n": 5}, {"n": "six"}, 7, {"n": 6}]


@pytest.mark.parametrize("func", [plain, waits, prompt])
async def test_each_item_has_its_own_answer(func: Any) -> None:
    """Values, typed responses and late answers stand at their place; what failed is null there, and tells why."""
    registry = Registry()
    Expose(registry)(name="work")(func)
    answer = decode_loosely(encode(await run_batch(registry, Metrics(), OUTER, "work", ITEMS)))
    typed = {"type__": "data", "statusCode": 200, "data": {"n": 3}}
    good = {"n": 0, "text": "Ж"}
    assert answer["results"] == [good, None, None, typed, "late", None, None, None, {**good, "n": 6}]
    codes = {number: error["code"] for number, error in answer["errors"].items()}
    assert codes == {"1": -32000, "2": -32000, "5": -32000, "6": -32602, "7": -32602}
    assert answer["errors"]["1"]["data"]["message"] == "KeyError: 'one'"
    assert answer["errors"]["6"]["data"] == {"message": "n: expected `int`, got `str`", "path": "$.n"}


async def test_late_items_wait_together() -> None:
    """Coroutines of one batch run side by side: each waits until all have begun."""
    registry = Registry()
    begun: list[int] = []
    everybody = asyncio.Event()

    async def meet(n: int) -> int:
        begun.append(n)
        if len(begun) == 20:
            everybody.set()
        await everybody.wait()
        return n

    Expose(registry)()(meet)
    async with asyncio.timeout(5):
        raw = await run_batch(registry, Metrics(), OUTER, "meet", [{"n": n} for n in range(20)])
    assert decode_loosely(encode(raw)) == {"results": list(range(20)), "errors": {}}


@pytest.mark.parametrize("name", ["nothing", "__status"])
async def test_only_exposed_functions_are_called(name: str) -> None:
    """An unknown method and a built-in one are refused as a whole."""
    with pytest.raises(InvalidParams, match=name):
        await run_batch(Registry(), Metrics(), OUTER, name, [{}])
