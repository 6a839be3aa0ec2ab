"""The connection to the Docker Engine: version, time-outs, and every failure as an error of the director."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import aiohttp
from aiodocker import Docker
from aiodocker.exceptions import DockerError

from director.errors import DockerAway, DockerRefused

T = TypeVar("T")
CALL = aiohttp.ClientTimeout(total=20, sock_connect=5)
ENDLESS = aiohttp.ClientTimeout(total=None, sock_connect=5)
NO_CONNECTION = 900
"""The status that aiodocker reports if it cannot connect to the engine."""


class Connection:
    """One Docker Engine, connected on demand; it may be restarted, also as another version."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._docker: Docker | None = None

    async def close(self) -> None:
        docker, self._docker = self._docker, None
        if docker is not None:
            await docker.close()

    def client(self) -> Docker:
        """Return the client, created at the first call; raises DockerAway if there is no socket."""
        if self._docker is None:
            try:
                self._docker = Docker(url=self._url, api_version="auto", timeout=CALL)
            except (ValueError, AssertionError, DockerError) as error:  # AssertionError: there is no socket
                raise DockerAway(
                    f"no Docker Engine: {error or 'no socket'}", "mount /var/run/docker.sock or set DOCKER_HOST"
                ) from error
        return self._docker

    @property
    def is_local(self) -> bool:
        return self._url is None or self._url.startswith("unix://")

    async def ping(self) -> str:
        return str((await self.guard(self.client().version()))["Version"])

    async def open(self, path: str, method: str = "GET", **more: Any) -> aiohttp.ClientResponse:
        """Send a request and return its response, of which only the head was read; the caller closes it."""
        return await self.guard(self._send(path, method, **more))

    async def call(self, path: str, method: str = "GET", *, missing_ok: bool = False, **more: Any) -> Any:
        """Return the JSON of a response; None if it has no body, or, with `missing_ok`, if the object does not exist.

        `params`, `data` and `timeout` are those of aiohttp.
        """
        async with await self.open(path, method, missing_ok=missing_ok, **more) as response:
            raw = b"" if response.status == 404 else await self.guard(response.read())
        return json.loads(raw) if raw.strip() else None

    async def _send(
        self,
        path: str,
        method: str,
        *,
        params: Mapping[str, str] | None = None,
        data: str | None = None,
        timeout: aiohttp.ClientTimeout = CALL,
        missing_ok: bool = False,
    ) -> aiohttp.ClientResponse:
        docker = self.client()
        if docker.api_version == "auto":
            await docker.version()  # negotiates the API version
        response = await docker.session.request(
            method,
            f"{docker.docker_host}/{docker.api_version}/{path}",
            params=params,
            data=data,
            headers={"Content-Type": "application/json"},
            timeout=timeout,
        )
        if response.status >= 400 and not (missing_ok and response.status == 404):
            async with response:
                raise DockerError(response.status, _reason(await response.read()))
        return response

    async def guard(self, call: Awaitable[T]) -> T:
        """Await a call of the engine.

        Raises:
            DockerAway: the engine cannot be reached, or did not respond in time.
            DockerRefused: it responded with an error.
        """
        try:
            return await call
        except DockerError as error:
            if "client version" in str(error.message) and self._docker is not None:
                self._docker.api_version = "auto"  # another engine than before: negotiate again
                raise DockerAway("the Docker Engine's API version has changed", "") from error
            if error.status == NO_CONNECTION:
                raise DockerAway(_line(error.message), "is dockerd running?") from error
            raise DockerRefused(_line(error.message), engine_status=error.status) from error
        except TimeoutError as error:
            raise DockerAway("the Docker Engine did not answer in time", "check dockerd's log") from error
        except (aiohttp.ClientError, OSError) as error:
            raise DockerAway(f"the connection to the Docker Engine was lost: {error}", "is dockerd running?") from error


def _reason(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text


def _line(message: object) -> str:
    return re.sub(r"\s+", " ", str(message))[:2000]
