"""Redis of its own through redis_factory, in the call forms of aioredis 1."""

import aioredis.pool
import ujson_or_json as ujson
from prodict import Prodict

from band import cleanup, expose, logger, redis_factory, worker

state = Prodict(pool=None, client=None, heard=[])


@expose()
async def save(uid, partner, value, **params):
    with await state.pool as conn:
        return await conn.execute("hset", f"s:{uid}", partner, ujson.dumps(value))


@expose()
async def load(uid, **params):
    async with state.pool.get() as conn:
        found = await conn.execute("hgetall", f"s:{uid}")
    pairs = zip(found[::2], found[1::2], strict=True)
    return {key.decode(): ujson.loads(value) for key, value in pairs}


@expose()
async def heard(**params):
    return {"heard": state.heard, "is_pool": isinstance(state.pool, aioredis.pool.ConnectionsPool)}


@worker()
async def startup():
    state.pool = await redis_factory.create_pool()
    state.client = await redis_factory.create_client()
    (channel,) = await state.client.subscribe("jar-news")
    while True:
        message = await channel.get(encoding="utf-8")
        if message is None:
            break
        state.heard.append(message)


@cleanup()
async def shutdown():
    state.pool.close()
    await state.pool.wait_closed()
    await redis_factory.close_client(state.client)
    logger.info("jar closed", state.pool.closed)
