"""A handler under an alias: a wildcard, a slow method with its own timeout, every typed response."""

import asyncio

from band import expose, logger, response


@expose.handler(name="*", alias="go")
async def anything(name, data, **params):
    logger.debug("wild", name, data=data)
    if data.get("to"):
        return response.redirect(data["to"])
    return {"wild": name}


@expose.handler(alias="go", timeout=1500)
async def slow(**params):
    await asyncio.sleep(0.4)
    return {"slow": True}


@expose.handler(alias="go")
async def missing(**params):
    return response.error("not here", statusCode=404)


@expose.handler(alias="go")
async def pixel(**params):
    return response.pixel()


@expose.handler(alias="go")
async def created(**params):
    return response.data({"a": 1}, statusCode=201)
