"""The connection to the Docker Engine: version, time-outs, and every trouble as one kind of error."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import aiohttp
from aiodocker import Docker
from aiodocker.exceptions import DockerError

from director.errors import DockerUnavailable

T = TypeVar("T")
CALL = aiohttp.ClientTimeout(total=20, sock_connect=5)
ENDLESS = aiohttp.ClientTimeout(total=None, sock_connect=5)


class Connection:
    """One Docker Engine, connected to when it is needed; it may come and go, also as another version."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._docker: Docker | None = None

    async def close(self) -> None:
        """Let go of the engine."""
        docker, self._docker = self._docker, None
        if docker is not None:
            await docker.close()

    async def open(
        self, path: str, *, params: Mapping[str, Any], timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Begin an answer that comes bit by bit; whoever asked closes it."""
        return await self.guard(self.client()._query(path, params=dict(params), timeout=timeout).__aenter__())  # noqa: SLF001

    def client(self) -> Docker:
        """Return the client, made at the first call.

        Raises:
            DockerUnavailable: there is no socket to be found.
        """
        if self._docker is None:
            try:
                self._docker = Docker(url=self._url, api_version="auto", timeout=CALL)
            except (ValueError, DockerError) as error:
                raise DockerUnavailable(
                    f"no Docker Engine: {error}", "mount /var/run/docker.sock or set DOCKER_HOST"
                ) from error
        return self._docker

    async def json(
        self, path: str, method: str = "GET", *, params: Mapping[str, Any] | None = None, data: str | None = None
    ) -> Any:
        """Return the JSON that the engine answers."""
        return await self.guard(self.client()._query_json(path, method, params=params, data=data, timeout=CALL))  # noqa: SLF001

    async def empty(
        self,
        path: str,
        method: str,
        *,
        params: Mapping[str, Any] | None = None,
        timeout: aiohttp.ClientTimeout = CALL,
    ) -> bool:
        """Send a request whose answer says nothing; returns True, so that `found` tells it from one that is gone."""
        async with _Query(self, path, method, params, timeout) as response:
            await self.guard(response.read())
        return True

    async def guard(self, call: Awaitable[T]) -> T:
        """Await a call; whatever goes wrong is DockerUnavailable, its fact `status` is what the engine said."""
        try:
            return await call
        except DockerError as error:
            if "client version" in _text(error) and self._docker is not None:
                self._docker.api_version = "auto"  # another engine than before: ask it anew what it speaks
                raise DockerUnavailable("the Docker Engine speaks another version than before", "") from error
            raise DockerUnavailable(
                _text(error), "is dockerd running?" if error.status == 900 else "", status=error.status
            ) from error
        except TimeoutError as error:
            raise DockerUnavailable("the Docker Engine did not answer in time", "look at dockerd's log") from error
        except (aiohttp.ClientError, OSError) as error:
            raise DockerUnavailable(f"the Docker Engine broke off: {error}", "is dockerd running?") from error

    async def found(self, call: Awaitable[T]) -> T | None:
        """Await a call; None when the engine says that there is no such thing."""
        try:
            return await call
        except DockerUnavailable as error:
            if error.facts.get("status") == 404:
                return None
            raise


class _Query:
    """An engine request whose failure to begin is DockerUnavailable too."""

    def __init__(
        self,
        connection: Connection,
        path: str,
        method: str,
        params: Mapping[str, Any] | None,
        timeout: aiohttp.ClientTimeout,
    ) -> None:
        self._connection = connection
        self._context = connection.client()._query(path, method, params=dict(params or {}), timeout=timeout)  # noqa: SLF001

    async def __aenter__(self) -> aiohttp.ClientResponse:
        return await self._connection.guard(self._context.__aenter__())

    async def __aexit__(self, *exc: object) -> None:
        await self._context.__aexit__(None, None, None)


def _text(error: DockerError) -> str:
    return re.sub(r"\s+", " ", str(error.message))[:2000]
