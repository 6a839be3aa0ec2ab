"""The bot on the bench, against a double of Telegram's Bot API."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from band import RpcRemoteError, testing

IMAGE = Path(__file__).resolve().parents[3] / "band_images" / "tg_hellobot"
TOKEN = "123456:c4n4ry-t0k3n"


class TelegramDouble:
    """Keeps updates until their offset confirms them, as Telegram does; answers from `troubles` first."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.troubles: list[dict[str, Any]] = []
        self.polls: list[float] = []

    def write(self, text: str, chat: int = 7) -> None:
        """Somebody writes to the bot."""
        number = 1000 + len(self.updates) + len(self.sent)
        message = {"text": text, "chat": {"id": chat}, "from": {"first_name": "Ann"}}
        self.updates.append({"update_id": number, "message": message})

    async def handle(self, request: web.Request) -> web.Response:
        """One call of a method."""
        params = await request.json()
        method = request.match_info["method"]
        if request.match_info["bot"] != f"bot{TOKEN}":
            return self._refuse(401, "Unauthorized")
        if method == "getMe":
            return web.json_response({"ok": True, "result": {"id": 123456, "username": "hello_bot"}})
        if method == "sendMessage":
            self.sent.append(params)
            return web.json_response({"ok": True, "result": {"message_id": len(self.sent)}})
        return await self._updates(params)

    async def _updates(self, params: dict[str, Any]) -> web.Response:
        self.polls.append(time.monotonic())
        if self.troubles:
            trouble = self.troubles.pop(0)
            return self._refuse(trouble["code"], "trouble ordered", trouble.get("retry_after"))
        self.updates = [update for update in self.updates if update["update_id"] >= params["offset"]]
        for _ in range(20):  # a long poll that is short enough for a test
            if self.updates:
                break
            await asyncio.sleep(0.02)
        return web.json_response({"ok": True, "result": self.updates})

    @staticmethod
    def _refuse(code: int, text: str, retry_after: float | None = None) -> web.Response:
        body: dict[str, Any] = {"ok": False, "error_code": code, "description": text}
        if retry_after:
            body["parameters"] = {"retry_after": retry_after}
        return web.json_response(body, status=code)


Run = Callable[..., AbstractAsyncContextManager[testing.Bench]]


async def condition(bot: testing.Bench) -> dict[str, Any]:
    """The check called telegram."""
    return dict((await bot.call("__status"))["health"]["checks"]["telegram"])


@pytest.fixture
def telegram() -> TelegramDouble:
    return TelegramDouble()


@pytest.fixture
async def api(telegram: TelegramDouble) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/{bot}/{method}", telegram.handle)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
def run(api: str) -> Run:
    """Starts the bot with its image's settings and the given environment."""

    @asynccontextmanager
    async def start(**env: str) -> AsyncIterator[testing.Bench]:
        given = {"TELEGRAM_API": api, "BOT_TOKEN": TOKEN, "RETRY_FIRST": "0.05", "RETRY_MOST": "0.2", **env}
        with testing.imported("tg_hellobot.main", IMAGE, **given) as main:
            async with testing.running(subject=main.service, name="tg_hellobot") as bench:
                yield bench

    return start


async def until(check: Callable[[], Any], timeout: float = 8) -> None:
    """Wait until `check` says yes."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        said = check()
        if await said if asyncio.iscoroutine(said) else said:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")


async def test_tg_hellobot_says_hello(run: Run, telegram: TelegramDouble) -> None:
    """/start and hello are answered once each, by name; other talk is not."""
    async with run() as bot:
        for text in ("/start", "what is the time?", "Hello there"):
            telegram.write(text)
        await until(lambda: len(telegram.sent) == 2)
        await asyncio.sleep(0.1)
        assert telegram.sent == [{"chat_id": 7, "text": "Hello, Ann!"}] * 2
        assert await condition(bot) == {"status": "ok", "answered": 2}


async def test_tg_hellobot_methods(run: Run, telegram: TelegramDouble) -> None:
    """The methods greet, tell who the bot is, and send."""
    async with run() as bot:
        assert await bot.call("hello", name="Zoë") == {"message": "Hello, Zoë!"}
        assert (await bot.call("me"))["username"] == "hello_bot"
        assert await bot.call("send", chat_id=9, text="Hi") == {"sent": True, "message_id": 1}
    assert telegram.sent[0]["text"] == "Hi"


async def test_tg_hellobot_waits_as_told(run: Run, telegram: TelegramDouble) -> None:
    """429 with retry_after is obeyed, 409 is waited out, and then it answers again."""
    telegram.troubles = [{"code": 429, "retry_after": 0.5}, {"code": 409}]
    telegram.write("/start")
    async with run():
        await until(lambda: len(telegram.sent) == 1)
    assert telegram.polls[1] - telegram.polls[0] >= 0.5


async def test_tg_hellobot_tells_its_trouble(run: Run) -> None:
    """A wrong token is trouble in health, in Telegram's words, and neither shown nor logged."""
    with testing.capture_logs() as logs:
        async with run(BOT_TOKEN="999:wr0ng-t0k3n") as bot:
            await until(lambda: _troubled(bot))
            facts = await condition(bot)
    assert (facts["status"], facts["reason"]) == ("degraded", "401: Unauthorized")
    assert "telegram_trouble" in [line["event"] for line in logs]
    assert "wr0ng" not in str(logs)


async def test_tg_hellobot_survives_no_network(run: Run) -> None:
    """Telegram out of reach: it keeps trying, says so, and nowhere shows the address with the token in it."""
    with testing.capture_logs() as logs:
        async with run(TELEGRAM_API="http://127.0.0.1:1") as bot:
            await until(lambda: _troubled(bot))
            assert "does not answer" in (await condition(bot))["reason"]
            with pytest.raises(RpcRemoteError) as refused:
                await bot.call("me")
    assert "does not answer" in str(refused.value)
    assert TOKEN not in f"{refused.value} {logs}"


async def _troubled(bot: testing.Bench) -> bool:
    return bool((await condition(bot))["status"] != "ok")


async def test_tg_hellobot_without_a_token(run: Run) -> None:
    """Without a token it runs, greets, and says what to set: in health, and to whoever wants to send."""
    async with run(BOT_TOKEN="") as bot:
        assert await bot.call("hello") == {"message": "Hello, world!"}
        facts = await condition(bot)
        assert facts["status"] == "degraded"
        assert "BOT_TOKEN" in facts["reason"]
        with pytest.raises(RpcRemoteError, match="BOT_TOKEN"):
            await bot.call("me")
