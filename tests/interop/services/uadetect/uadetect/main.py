"""An enricher: asked by front on the channel `enrich`."""

from prodict import Prodict

from band import expose, logger, settings, worker

state = Prodict(calls=0)


@worker()
async def warm_up():
    logger.info("settings", keys=settings.enrich_keys, missing=settings.no_such_key)


@expose.enricher(keys=["in.gen.track"], props={"ua": "td.ua"})
async def enrich(ua, **params):
    state.calls += 1
    if state.no_such:
        return None
    return {"is_bot": int("bot" in ua.lower()), "length": len(ua), "url": "https://rock.st/docs/"}
