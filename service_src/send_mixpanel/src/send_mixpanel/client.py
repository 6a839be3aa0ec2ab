"""One request to Mixpanel and its answer; every way in which it can fail becomes a verdict."""

import asyncio
import gzip
from collections.abc import Sequence

import aiohttp
from aiohttp.abc import AbstractResolver

from band.platform import encode
from send_mixpanel.mapping import Record
from send_mixpanel.options import IMPORT, Project
from send_mixpanel.stage import Stage, stage_tracing
from send_mixpanel.verdict import Meaning, Verdict, judge, judge_change

# Measured on mixed events: 3 leaves 8.7 % of the size for 5 µs an event, 5 leaves 7.5 % for 9 µs.
_GZIP_LEVEL = 3
_ANSWER_LIMIT = 4 * 1024 * 1024
"""Ten times what Mixpanel says of 2,000 bad records."""
_CONNECT_TIMEOUT = 10.0
# Below this, a thread costs more than it saves.
_SMALL = 100_000


class Client:
    """Posts batches. Open it in the running loop, close it at the end. `timeout` in seconds."""

    def __init__(self, timeout: float, resolver: AbstractResolver | None = None) -> None:
        self._resolver = resolver
        self.requests = 0
        self._total, self._connect = timeout, min(timeout, _CONNECT_TIMEOUT)
        self._session: aiohttp.ClientSession | None = None

    async def post(self, project: Project, records: Sequence[Record]) -> Verdict:
        """Send `records`, which are for one endpoint, once. Never raises but when cancelled."""
        endpoint = records[0].endpoint if records else IMPORT
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if endpoint == IMPORT:
            body, params = await _pack(records), {"strict": "1"}
            headers["Content-Encoding"] = "gzip"
            if project.project_id:
                params["project_id"] = project.project_id
            if project.auth:
                headers["Authorization"] = project.auth.reveal()
        else:
            # ip=0: or the place of this server would become that of the person.
            body, params = _with_token(records, project), {"strict": "1", "verbose": "1", "ip": "0"}
        self.requests += 1
        stage = Stage(self._connect, self._total)
        try:
            async with self._open().post(
                f"{project.url}/{endpoint}",
                params=params, data=body, headers=headers, allow_redirects=False,
                trace_request_ctx=stage,
            ) as answer:  # fmt: skip
                text = bytearray()
                async for chunk in answer.content.iter_any():
                    text += chunk
                    if len(text) > _ANSWER_LIMIT:
                        return Verdict(Meaning.ADDRESS, answer.status, "an endless response is not one of Mixpanel's")
                verdict = judge if endpoint == IMPORT else judge_change
                return verdict(answer.status, bytes(text), len(records))
        except TimeoutError:
            return Verdict(Meaning.LATER, 0, stage.missed)
        except (aiohttp.InvalidURL, UnicodeError):  # the latter from a host's name that has no form in DNS
            return Verdict(Meaning.ADDRESS, 0, "MIXPANEL_URL is not a valid URL")
        except (aiohttp.ClientError, OSError) as error:
            return Verdict(Meaning.LATER, 0, f"{type(error).__name__}: {error}"[:300])

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            timeout = aiohttp.ClientTimeout(total=self._total, connect=self._connect)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=self._resolver),
                timeout=timeout,
                trust_env=True,
                trace_configs=[stage_tracing()],
            )
        return self._session


def _with_token(records: Sequence[Record], project: Project) -> bytes:
    """Return changes of profiles as a JSON array, with the project's token in each."""
    token = encode(project.token.reveal() if project.token else "")
    return b"[" + b",".join([b'{"$token":' + token + b"," + record.body[1:] for record in records]) + b"]"


async def _pack(records: Sequence[Record]) -> bytes:
    body = b"[" + b",".join([record.body for record in records]) + b"]"
    if len(body) < _SMALL:
        return gzip.compress(body, _GZIP_LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, _GZIP_LEVEL, mtime=0)
