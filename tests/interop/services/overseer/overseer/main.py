"""What the original's director does with the framework: its own routes, heartbeats, `__status` of the others."""

# ruff: noqa: N813 - as such services are written

import asyncio

from aiohttp import web
from prodict import Prodict as pdict

import band
from band import app, dome, expose, logger, loop, rpc, settings
from band.constants import DIRECTOR_SERVICE, FRONTIER_SERVICE, NOTIFY_ALIVE, OK, REQUEST_STATUS
from band.lib.response import BaseBandResponse

state = pdict(services=pdict())


@expose(name=NOTIFY_ALIVE)
async def iamalive(name, **params):
    loop.create_task(ask_state(name))


async def ask_state(name):
    status = await rpc.request(name, REQUEST_STATUS)
    if status and "register" in status:
        state.services[name] = status
        logger.debug("registered", name, rows=len(status["register"]))


@expose(path="/show/{name}")
async def show(name, **params):
    service = state.services.get(name)
    return {"status": OK, "service": service, "unknown": state.nobody}


@expose()
async def push(name, **params):
    rows = [dict(row, service=name) for row in state.services[name]["register"]]
    answer = await rpc.request(FRONTIER_SERVICE, REQUEST_STATUS, register=rows, state_hash=-8218291109963278300)
    return {
        "answer": answer,
        "is_response": isinstance(answer, BaseBandResponse),
        "me": settings.name == DIRECTOR_SERVICE,
    }


async def hello(request):
    return web.json_response({"band": band.__name__, "app": request.app is app})


async def socket(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_str(message.data.upper())
    return ws


dome.routes.append(web.get("/hello", hello))
dome.routes += [web.get("/ws", socket)]
assert not asyncio.iscoroutinefunction(loop.create_task)
