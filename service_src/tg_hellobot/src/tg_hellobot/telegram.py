"""A small client of Telegram's Bot API (https://core.telegram.org/bots/api)."""

from typing import Any

import aiohttp

# Telegram answers getUpdates at once when somebody writes, else after so many seconds.
POLL_SECONDS = 25


class TelegramError(Exception):
    """Telegram refused a call, or did not answer. `code` is its error code, 0 without an answer.

    The text never holds the address of the call: the bot's token is a part of it.
    """

    def __init__(self, code: int, text: str, retry_after: float = 0) -> None:
        super().__init__(f"{code}: {text}" if code else text)
        self.code = code
        self.retry_after = retry_after


class Telegram:
    """Calls methods of the Bot API as one bot."""

    def __init__(self, api: str, token: str) -> None:
        self._base = f"{api.rstrip('/')}/bot{token}"
        self._session: aiohttp.ClientSession | None = None

    async def call(self, method: str, params: dict[str, Any] | None = None, within: float = 10) -> Any:
        """Call `method` and return its `result`.

        Raises:
            TelegramError: refused, or no answer within `within` seconds.
        """
        if self._session is None:
            # Made at the first call, because a session belongs to the loop that runs then.
            self._session = aiohttp.ClientSession(trust_env=True)
        limit = aiohttp.ClientTimeout(total=within)
        try:
            async with self._session.post(f"{self._base}/{method}", json=params or {}, timeout=limit) as reply:
                answer = await reply.json(content_type=None)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise TelegramError(0, f"Telegram does not answer ({type(error).__name__})") from None
        if not isinstance(answer, dict) or not answer.get("ok"):
            raise _refusal(answer)
        return answer.get("result")

    async def updates(self, after: int) -> list[dict[str, Any]]:
        """What happened since the update `after`; waits for up to 25 seconds for something to happen."""
        wanted = {"offset": after + 1, "timeout": POLL_SECONDS, "allowed_updates": ["message"]}
        found = await self.call("getUpdates", wanted, within=POLL_SECONDS + 10)
        return [update for update in found or [] if isinstance(update.get("update_id"), int)]

    async def send(self, chat_id: int | str, text: str) -> Any:
        """Write `text` into a chat."""
        return await self.call("sendMessage", {"chat_id": chat_id, "text": text})

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


def _refusal(answer: Any) -> TelegramError:
    facts = answer if isinstance(answer, dict) else {}
    parameters = facts.get("parameters") or {}
    return TelegramError(
        int(facts.get("error_code") or 0),
        str(facts.get("description") or "Telegram's response cannot be read"),
        float(parameters.get("retry_after") or 0),
    )
