"""A Telegram bot as a service. It shows the parts that most services have:

settings (config.yaml), a worker that runs all the time, methods that others call, a health check, a clean end.
"""

import asyncio
from typing import Any

from band import cleanup, expose, health, logger, settings, worker
from tg_hellobot.telegram import Telegram, TelegramError

NO_TOKEN = "set BOT_TOKEN (write to @BotFather in Telegram to get one) and run the service again"  # noqa: S105
RETRY_FIRST = float(settings.retry_first or 1)
RETRY_MOST = float(settings.retry_most or 60)

# Without a token there is no bot, but the service runs and says what is missing.
telegram = Telegram(str(settings.telegram_api), str(settings.bot_token)) if settings.bot_token else None
state: dict[str, Any] = {"answered": 0, "trouble": ""}


# --- methods: http://127.0.0.1:10000/call/tg_hellobot/<method>, or rpc.request("tg_hellobot", "<method>")


@expose()
async def hello(name: str = "world") -> dict[str, str]:
    """Say hello; needs no token: `/call/tg_hellobot/hello?name=Ann`."""
    return {"message": greeting(name)}


@expose()
async def me() -> Any:
    """Who this bot is, as Telegram knows it."""
    return await bot().call("getMe")


@expose()
async def send(chat_id: int | str, text: str) -> dict[str, Any]:
    """Write `text` into a chat: `/call/tg_hellobot/send?chat_id=1&text=Hi`."""
    message = await bot().send(chat_id, text)
    return {"sent": True, "message_id": message.get("message_id")}


# --- the bot itself


@worker()
async def poll() -> None:
    """Ask Telegram for news, for ever. Nothing that goes wrong here may end it."""
    if telegram is None:
        logger.warning("bot_token_missing", hint=NO_TOKEN)
        return
    last, pause = 0, RETRY_FIRST
    while True:
        try:
            for update in await telegram.updates(after=last):
                await answer(telegram, update.get("message") or {})
                # Asking for what comes after it tells Telegram that this one is done.
                last = max(last, update["update_id"])
            state["trouble"], pause = "", RETRY_FIRST
        except TelegramError as error:
            # 429 says how long to wait. 409: somebody else polls with the same token. Else wait longer each time.
            state["trouble"] = str(error)
            logger.warning("telegram_trouble", reason=str(error), retry_in_s=error.retry_after or pause)
            await asyncio.sleep(error.retry_after or pause)
            pause = min(pause * 2, RETRY_MOST)


async def answer(api: Telegram, message: dict[str, Any]) -> None:
    """Answer one message: /start and anything with "hello" in it."""
    text = str(message.get("text") or "")
    chat = message.get("chat") or {}
    if "id" not in chat or not (text.startswith("/start") or "hello" in text.lower()):
        return
    name = (message.get("from") or {}).get("first_name") or "you"
    try:
        await api.send(chat["id"], greeting(name))
        state["answered"] += 1
    except TelegramError as error:
        if error.code not in {400, 403}:  # the chat is gone, or the person has blocked the bot: not our trouble
            raise


def greeting(name: str) -> str:
    """What the bot says."""
    return f"Hello, {name}!"


def bot() -> Telegram:
    """The bot, where there is one.

    Raises:
        RuntimeError: there is no token.
    """
    if telegram is None:
        raise RuntimeError(f"There is no token: {NO_TOKEN}")
    return telegram


# --- how it is, and how it ends


@health("telegram")
def telegram_health() -> dict[str, Any]:
    """Shown in `GET /health`, by the director, and on its page."""
    if telegram is None:
        return {"status": "degraded", "reason": NO_TOKEN}
    if state["trouble"]:
        return {"status": "degraded", "reason": state["trouble"], "answered": state["answered"]}
    return {"status": "ok", "answered": state["answered"]}


@cleanup()
async def stop() -> None:
    """Close the connections when the service ends."""
    if telegram is not None:
        await telegram.close()
