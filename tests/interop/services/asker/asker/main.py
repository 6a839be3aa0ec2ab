"""Calls to others, in every form that the original's rpc had."""

from jsonrpcclient.exceptions import ReceivedErrorResponse

from band import expose, logger, response, rpc


@expose()
async def relay(to, method, value=None, **params):
    return await rpc.request(to, method, value=value)


@expose()
async def by_name(method, **params):
    return await rpc.original(method, n=1)


@expose()
async def impatient(to, **params):
    answer = await rpc.request(to, "silence", timeout__=1)
    return {"answer": answer}


@expose()
async def careful(to, method, **params):
    try:
        return await rpc.request(to, method)
    except ReceivedErrorResponse as error:
        logger.exception("refused")
        return {"code": error.code, "message": error.message}


@expose()
async def typed(to, **params):
    answer = await rpc.request(to, "typed")
    if answer.is_error():
        return response.error(answer.error_message, statusCode=409)
    return answer


@expose()
async def tell(to, **params):
    await rpc.notify(to, "told", a=1)
    return response.data("told")
