"""A Telegram bot as a service. It shows the parts that most services have:

settings (config.yaml), what lives as long as the service, a worker that runs all the time, methods that others call,
a health check, a clean end.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from band import Service, logger, settings
from tg_hellobot.telegram import Telegram, TelegramError

NO_TOKEN = "set BOT_TOKEN (write to @BotFather in Telegram to get one) and run the service again"  # noqa: S105
RETRY_FIRST = float(settings.retry_first or 1)
RETRY_MOST = float(settings.retry_most or 60)

service = Service()


@dataclass
class Bot:
    """What the functions share. Without a token there is no Telegram, but the service runs and says what is missing."""

    telegram: Telegram | None
    answered: int = 0
    trouble: str = ""

    def connected(self) -> Telegram:
        """Telegram, where there is a token.

        Raises:
            RuntimeError: there is none.
        """
        if self.telegram is None:
            raise RuntimeError(f"There is no token: {NO_TOKEN}")
        return self.telegram


@service.lifespan
async def start_bot() -> AsyncIterator[Bot]:
    """Make the bot at the start: every function that has a parameter of type `Bot` gets it. Close it at the end."""
    token = settings.bot_token
    made = Bot(Telegram(str(settings.telegram_api), str(token)) if token else None)
    yield made
    if made.telegram is not None:
        await made.telegram.close()


# --- methods: http://127.0.0.1:10000/call/tg_hellobot/<method>, or rpc.request("tg_hellobot", "<method>")


@service.expose()
async def hello(name: str = "world") -> dict[str, str]:
    """Say hello; needs no token: `/call/tg_hellobot/hello?name=Ann`."""
    return {"message": greeting(name)}


@service.expose()
async def me(bot: Bot) -> Any:
    """Who this bot is, as Telegram knows it."""
    return await bot.connected().call("getMe")


@service.expose()
async def send(bot: Bot, chat_id: int | str, text: str) -> dict[str, Any]:
    """Write `text` into a chat: `/call/tg_hellobot/send?chat_id=1&text=Hi`."""
    message = await bot.connected().send(chat_id, text)
    return {"sent": True, "message_id": message.get("message_id")}


# --- the bot itself


@service.worker
async def poll(bot: Bot) -> None:
    """Ask Telegram for news, for ever. Nothing that goes wrong here may end it."""
    telegram = bot.telegram
    if telegram is None:
        logger.warning("bot_token_missing", hint=NO_TOKEN)
        return
    last, pause = 0, RETRY_FIRST
    while True:
        try:
            for update in await telegram.updates(after=last):
                await answer(bot, telegram, update.get("message") or {})
                # Asking for what comes after it tells Telegram that this one is done.
                last = max(last, update["update_id"])
            bot.trouble, pause = "", RETRY_FIRST
        except TelegramError as error:
            # 429 says how long to wait. 409: somebody else polls with the same token. Else wait longer each time.
            bot.trouble = str(error)
            logger.warning("telegram_trouble", reason=str(error), retry_in_s=error.retry_after or pause)
            await asyncio.sleep(error.retry_after or pause)
            pause = min(pause * 2, RETRY_MOST)


async def answer(bot: Bot, api: Telegram, message: dict[str, Any]) -> None:
    """Answer one message: /start and anything with "hello" in it."""
    text = str(message.get("text") or "")
    chat = message.get("chat") or {}
    if "id" not in chat or not (text.startswith("/start") or "hello" in text.lower()):
        return
    name = (message.get("from") or {}).get("first_name") or "you"
    try:
        await api.send(chat["id"], greeting(name))
        bot.answered += 1
    except TelegramError as error:
        if error.code not in {400, 403}:  # the chat is gone, or the person has blocked the bot: not our trouble
            raise


def greeting(name: str) -> str:
    """What the bot says."""
    return f"Hello, {name}!"


# --- how it is


@service.health("telegram")
def telegram_health(bot: Bot) -> dict[str, Any]:
    """Shown in `GET /health`, by the director, and on its page."""
    if bot.telegram is None:
        return {"status": "degraded", "reason": NO_TOKEN}
    if bot.trouble:
        return {"status": "degraded", "reason": bot.trouble, "answered": bot.answered}
    return {"status": "ok", "answered": bot.answered}
