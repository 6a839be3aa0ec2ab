"""The bot as a process of its own, against a double of Telegram's Bot API."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

CONFIG = Path(__file__).resolve().parents[3] / "band_images" / "tg_hellobot" / "config.yaml"
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


class Bot:
    """A running `python -m tg_hellobot`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.output = b""

    async def get(self, path: str, **params: Any) -> Any:
        """The JSON answer of the service's own port."""
        url = f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession() as session, session.get(url, params=params) as answer:
            return await answer.json()

    async def condition(self) -> dict[str, Any]:
        """The check called telegram."""
        return dict((await self.get("/health"))["checks"]["telegram"])

    async def stop(self) -> None:
        """End it and keep what it printed."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        out, _ = await asyncio.wait_for(self.process.communicate(), 12)
        self.output += out


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
def run(api: str, tmp_path: Path) -> Callable[..., Any]:
    """Starts the bot with the given environment; there is no Redis, which a bot can do without."""
    shutil.copy(CONFIG, tmp_path / "config.yaml")

    @asynccontextmanager
    async def start(**env: str) -> AsyncIterator[Bot]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tg_hellobot", cwd=tmp_path, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOST": "127.0.0.1",
                "PORT": str(port), "REDIS_DSN": "redis://127.0.0.1:1", "TELEGRAM_API": api, "BOT_TOKEN": TOKEN,
                "RETRY_FIRST": "0.05", "RETRY_MOST": "0.2", "LOG_LEVEL": "DEBUG", **env,
            },
        )  # fmt: skip
        bot = Bot(process, port)
        try:
            await until(lambda: _answers(bot))
            yield bot
        finally:
            await bot.stop()

    return start


async def _answers(bot: Bot) -> bool:
    assert bot.process.returncode is None, "it ended at once; run it by hand to see why"
    try:
        await bot.get("/health")
    except aiohttp.ClientError:
        return False
    return True


async def until(check: Callable[[], Any], timeout: float = 8) -> None:
    """Wait until `check` says yes."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        said = check()
        if await said if asyncio.iscoroutine(said) else said:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen in time")


async def test_tg_hellobot_says_hello(run: Callable[..., Any], telegram: TelegramDouble) -> None:
    """/start and hello are answered once each, by name; other talk is not."""
    async with run() as bot:
        for text in ("/start", "what is the time?", "Hello there"):
            telegram.write(text)
        await until(lambda: len(telegram.sent) == 2)
        await asyncio.sleep(0.1)
        assert telegram.sent == [{"chat_id": 7, "text": "Hello, Ann!"}] * 2
        assert await bot.condition() == {"status": "ok", "answered": 2}


async def test_tg_hellobot_methods(run: Callable[..., Any], telegram: TelegramDouble) -> None:
    """The methods greet, tell who the bot is, and send."""
    async with run() as bot:
        assert await bot.get("/hello", name="Zoë") == {"message": "Hello, Zoë!"}
        assert (await bot.get("/me"))["username"] == "hello_bot"
        assert await bot.get("/send", chat_id=9, text="Hi") == {"sent": True, "message_id": 1}
    assert telegram.sent[0]["text"] == "Hi"


async def test_tg_hellobot_waits_as_told(run: Callable[..., Any], telegram: TelegramDouble) -> None:
    """429 with retry_after is obeyed, 409 is waited out, and then it answers again."""
    telegram.troubles = [{"code": 429, "retry_after": 0.5}, {"code": 409}]
    telegram.write("/start")
    async with run():
        await until(lambda: len(telegram.sent) == 1)
    assert telegram.polls[1] - telegram.polls[0] >= 0.5


async def test_tg_hellobot_tells_its_trouble(run: Callable[..., Any]) -> None:
    """A wrong token is trouble in health, in Telegram's words, and neither shown nor printed."""
    async with run(BOT_TOKEN="999:wr0ng-t0k3n") as bot:
        await until(lambda: _troubled(bot))
        condition = await bot.condition()
        assert (condition["status"], condition["reason"]) == ("degraded", "401: Unauthorized")
    assert b"wr0ng" not in bot.output


async def test_tg_hellobot_survives_no_network(run: Callable[..., Any]) -> None:
    """Telegram out of reach: it keeps trying, says so, and does not print the address with the token in it."""
    async with run(TELEGRAM_API="http://127.0.0.1:1") as bot:
        await until(lambda: _troubled(bot))
        assert "does not answer" in (await bot.condition())["reason"]
        message = json.dumps(await bot.get("/me"))
    assert TOKEN not in message
    assert TOKEN.encode() not in bot.output


async def _troubled(bot: Bot) -> bool:
    return bool((await bot.condition())["status"] != "ok")


async def test_tg_hellobot_without_a_token(run: Callable[..., Any]) -> None:
    """Without a token it runs, greets, and says what to set: in health, and to whoever wants to send."""
    async with run(BOT_TOKEN="") as bot:
        assert await bot.get("/hello") == {"message": "Hello, world!"}
        condition = await bot.condition()
        assert condition["status"] == "degraded"
        assert "BOT_TOKEN" in condition["reason"]
        assert "BOT_TOKEN" in json.dumps(await bot.get("/me"))
