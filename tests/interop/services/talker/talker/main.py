"""Functions of every shape: coroutines, plain ones that return an awaitable, streams; any JSON as data."""

import asyncio

from band import expose, response


async def later(value):
    await asyncio.sleep(0)
    return {"later": value}


@expose()
def awaitable(value, **params):
    return later(value)


@expose(name="renamed", path="/by/{number}")
async def with_path(number=None, **params):
    return {"number": number, "more": params}


@expose()
async def lines(count=3, **params):
    for number in range(int(count)):
        yield f"line {number}\n"


@expose()
async def anything(**params):
    return response.data(params.get("value"))


@expose()
async def broken(**params):
    raise KeyError("no such place")
