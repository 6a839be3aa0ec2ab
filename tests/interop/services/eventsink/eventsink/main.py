"""A listener on the channel `broadcast`, with settings from every place where the original reads them."""

from prodict import Prodict

from band import expose, logger, settings
from band.config import environ

events = []


@expose.listener()
async def broadcast(key, data, uid=None, **params):
    event = Prodict.from_dict({"data": data})
    logger.info("got", key, uid=uid)
    events.append([key, uid, event.data.sess.num, event.data.nothing, params["projectId"]])


@expose()
async def seen(**params):
    return events


@expose()
async def config(**params):
    return {
        "token": settings.destination.token,
        "url": settings.destination.url,
        "missing": settings.destination.missing,
        "from_env_file": environ.get("SINK_FROM_FILE"),
        "env": settings.env,
        "name": settings.name,
    }
