"""The runtime over an engine's socket, which is an HTTP server of ours: versions, events, what is gone or refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from director.engine import docker as docker_module
from director.engine.client import Connection
from director.engine.docker import DockerEngine
from director.engine.interface import Event, OwnContainer
from director.engine.logs import LONGEST, read_output
from director.errors import DockerAway, DockerRefused, PortTaken


class Engine:
    """An engine of one API version that refuses clients of a newer one, as dockerd does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.api = "1.41"
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {}
        self.lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.path)).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.asked.append(f"{request.method} {path}")
        version, _, rest = path.partition("/") if path.startswith("v1.") else ("", "", path)
        if version and float(version[3:]) > float(self.api[2:]):
            told = f"client version {version[1:]} is too new. Maximum supported API version is {self.api}"
            return web.json_response({"message": told}, status=400)
        if rest == "version":
            return web.json_response({"Version": "fake", "ApiVersion": self.api})
        if rest == "events":
            return await self._events(request)
        status, body = self.answers.get(f"{request.method} {rest}", (404, {"message": "no such thing"}))
        return web.json_response(body, status=status)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        while (line := await self.lines.get()) is not None:
            await stream.write(json.dumps(line).encode() + b"\n")
        return stream

    def happens(self, action: str, container: str = "c1", **attributes: str) -> None:
        attributes = {"band.service": "one", "band.config": "c0ffee", **attributes}
        self.lines.put_nowait({"Action": action, "Actor": {"ID": container, "Attributes": attributes}, "time": 5})


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    found = Engine(tmp_path / "docker.sock")
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def runtime(engine: Engine) -> AsyncIterator[DockerEngine]:
    found = DockerEngine("ns", f"unix://{engine.path}")
    yield found
    await found.close()


def details(name: str, labels: dict[str, str], **state: str) -> dict[str, Any]:
    """A container that runs, as the engine tells of it."""
    return {
        "Id": name, "Name": f"/{name}", "State": {"Status": "running", **state}, "Config": {"Labels": labels},
        "HostConfig": {},
    }  # fmt: skip


async def heard(runtime: DockerEngine, count: int) -> list[Event]:
    found: list[Event] = []
    async for event in runtime.events():
        found.append(event)
        if len(found) == count:
            break
    return found


async def test_it_speaks_the_version_of_the_engine(engine: Engine, runtime: DockerEngine) -> None:
    """The engine is asked what it speaks before the first request, and spoken to in that."""
    assert await runtime.ping() == "fake"
    assert engine.asked == ["GET version", "GET v1.41/version"]


async def test_an_engine_of_another_version_is_asked_anew(engine: Engine, runtime: DockerEngine) -> None:
    """After the engine was replaced by an older one, one request fails as if it were away, the next is understood."""
    await runtime.ping()
    engine.api = "1.30"
    with pytest.raises(DockerAway, match="version has changed"):
        await runtime.ping()
    assert await runtime.ping() == "fake"
    assert engine.asked[-1] == "GET v1.30/version"


async def test_an_engine_that_is_away_comes_back(engine: Engine, runtime: DockerEngine) -> None:
    """Without a socket every call is DockerAway; with a new one the same runtime goes on."""
    await runtime.ping()
    await engine.stop()
    with pytest.raises(DockerAway):
        await runtime.ping()
    await engine.start()
    assert await runtime.ping() == "fake"


async def test_events_are_read_and_marked(engine: Engine, runtime: DockerEngine) -> None:
    """Exit code and signal are numbers; the end of a container that it stopped itself is marked, until it starts."""
    engine.answers["POST containers/c1/stop"] = (204, None)
    reading = asyncio.create_task(heard(runtime, 4))
    engine.happens("kill", signal="9")
    await asyncio.sleep(0.1)
    await runtime.stop("c1", 1)
    engine.happens("die", exitCode="137")
    engine.happens("start")
    engine.happens("die", exitCode="3")
    kill, asked, _start, crash = await asyncio.wait_for(reading, 5)
    assert (kill.signal, kill.exit_code) == (9, None)
    assert (asked.exit_code, asked.asked, asked.service) == (137, True, "one")
    assert (crash.exit_code, crash.asked, crash.time) == (3, False, 5.0)


async def test_a_stop_under_way_is_remembered_when_the_stream_connects_again(
    engine: Engine, runtime: DockerEngine
) -> None:
    """A service may take ten minutes to end; the connection of the events may be lost meanwhile."""
    engine.answers["POST containers/c1/stop"] = (204, None)
    engine.answers["GET containers/c1/json"] = (200, details("c1", {}, StartedAt="2026-01-01T00:00:00Z"))
    await runtime.stop("c1", 600)
    for _ in range(2):  # the engine ends the stream, and another one is begun
        engine.happens("kill", signal="15")
        engine.lines.put_nowait(None)
        assert len(await asyncio.wait_for(heard(runtime, 9), 5)) == 1
    reading = asyncio.create_task(heard(runtime, 3))
    engine.happens("die", exitCode="143")
    engine.happens("destroy")
    engine.happens("die", exitCode="1")
    assert [event.asked for event in await asyncio.wait_for(reading, 5)] == [True, True, False]


async def test_a_stop_whose_end_nobody_heard_is_forgotten(engine: Engine, runtime: DockerEngine) -> None:
    """Gone while the stream was lost, or started again since: what comes now is not that stop's."""
    for name in ("gone", "again"):
        engine.answers[f"POST containers/{name}/stop"] = (204, None)
        await runtime.stop(name, 1)
    engine.answers["GET containers/again/json"] = (200, details("again", {}, StartedAt="2999-01-01T00:00:00Z"))
    reading = asyncio.create_task(heard(runtime, 2))
    engine.happens("die", container="gone", exitCode="1")
    engine.happens("die", container="again", exitCode="1")
    assert [event.asked for event in await asyncio.wait_for(reading, 5)] == [False, False]


async def test_a_taken_port_is_told_from_other_refusals(engine: Engine, runtime: DockerEngine) -> None:
    """Docker has one status for both, and says which it is in words."""
    taken = "driver failed programming external connectivity: Bind for 127.0.0.1:8900 failed: port is already allocated"
    engine.answers["POST containers/c1/start"] = (500, {"message": taken})
    with pytest.raises(PortTaken, match="already allocated"):
        await runtime.start("c1")
    engine.answers["POST containers/c1/start"] = (404, {"message": "network net not found"})
    with pytest.raises(DockerRefused, match="not found") as caught:
        await runtime.start("c1")
    assert (type(caught.value), caught.value.engine_status) == (DockerRefused, 404)


async def test_a_container_that_exits_while_it_is_renamed_is_renamed_a_moment_later(
    engine: Engine, runtime: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback from a release that crashes just then must not fail over it; other refusals are told at once."""
    monkeypatch.setattr(docker_module, "RENAME_PAUSES", (0.1, 0.1, 0.1))
    engine.answers["POST containers/c1/rename"] = (500, {"message": "sandbox d43372bc not found"})
    renaming = asyncio.create_task(runtime.rename("c1", "one"))
    await asyncio.sleep(0.15)
    engine.answers["POST containers/c1/rename"] = (204, {})
    await renaming
    engine.answers["POST containers/c1/rename"] = (500, {"message": "sandbox d43372bc not found"})
    with pytest.raises(DockerRefused, match="sandbox"):
        await runtime.rename("c1", "one")
    engine.answers["POST containers/c1/rename"] = (409, {"message": "the name is in use"})
    before = len(engine.asked)
    with pytest.raises(DockerRefused, match="in use"):
        await runtime.rename("c1", "one")
    assert len(engine.asked) == before + 1


async def test_a_director_in_a_container_tries_ports_by_a_container_in_the_hosts_network(
    engine: Engine, runtime: DockerEngine
) -> None:
    """It is removed whatever happens, and so is one that a killed director left."""
    assert await runtime.closed_ports({1}) == {1}, "on a host it tries them itself"
    runtime._own = OwnContainer("own", "director", ("ns",), (), host_network=False, image="sha256:me")
    engine.answers["POST containers/create"] = (409, {"message": "the name is in use"})
    with pytest.raises(DockerRefused):
        await runtime.closed_ports({8900})
    assert engine.asked[-2:] == ["DELETE v1.41/containers/ns-port-check", "POST v1.41/containers/create"]
    engine.answers["POST containers/create"] = (201, {"Id": "c1"})
    engine.answers["POST containers/c1/start"] = (500, {"message": "no"})
    with pytest.raises(DockerRefused, match="no"):
        await runtime.closed_ports({8900})
    assert engine.asked[-1] == "DELETE v1.41/containers/c1"


def test_without_a_socket_the_engine_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing says where it is, and nothing lies where it usually is: that is told, with what to do."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr("aiodocker.docker._sock_search_paths", [tmp_path / "docker.sock"])
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DockerAway, match="no Docker Engine") as caught:
        Connection(None).client()
    assert "mount /var/run/docker.sock" in caught.value.hint


async def test_what_somebody_runs_from_a_services_image_is_not_seen(engine: Engine, runtime: DockerEngine) -> None:
    """`docker run` brings the labels of the image along; only a container made by the director has `band.config`."""
    image = {"band.managed": "true", "band.namespace": "ns", "band.kind": "service", "band.service": "one"}
    core = {**image, "band.kind": "core", "band.service": "redis"}
    made = {**image, "band.config": "c0ffee"}
    everybody = {"theirs": image, "core": core, "made": made}

    rows = [
        {"Id": name, "Names": [f"/{name}"], "State": "running", "Labels": labels} for name, labels in everybody.items()
    ]
    engine.answers["GET containers/json"] = (200, rows)
    for name, labels in everybody.items():
        engine.answers[f"GET containers/{name}/json"] = (200, details(name, labels))
    assert {item.name for item in await runtime.containers()} == {"core", "made"}
    assert await runtime.inspect("theirs") is None
    reading = asyncio.create_task(heard(runtime, 2))
    engine.happens("die", container="theirs", exitCode="1", **{"band.config": ""})
    engine.happens("die", container="core", exitCode="1", **{"band.config": "", "band.kind": "core"})
    engine.happens("die", container="made", exitCode="1")
    assert [event.container for event in await asyncio.wait_for(reading, 5)] == ["core", "made"]


async def test_a_stream_of_events_that_ends_is_told(engine: Engine, runtime: DockerEngine) -> None:
    """When the engine closes it the iteration ends; when the engine dies it raises: both begin anew."""
    engine.lines.put_nowait(None)
    assert await asyncio.wait_for(heard(runtime, 1), 5) == []
    reading = asyncio.create_task(heard(runtime, 1))
    await asyncio.sleep(0.1)
    await engine.stop()
    with pytest.raises(DockerAway):
        await asyncio.wait_for(reading, 5)


async def test_what_is_gone_is_removed_and_what_is_in_use_is_not(engine: Engine, runtime: DockerEngine) -> None:
    """404 is the end that was wanted, 409 a refusal that says why."""
    await runtime.remove("gone")
    await runtime.stop("gone", 1)
    await runtime.remove_image("ns/one:gone")
    assert await runtime.inspect("gone") is None
    assert await runtime.image("ns/one:gone") is None
    engine.answers["DELETE images/ns/one:used"] = (409, {"message": "conflict: image is being used"})
    with pytest.raises(DockerRefused, match="being used") as caught:
        await runtime.remove_image("ns/one:used")
    assert caught.value.engine_status == 409


async def test_a_line_without_an_end_does_not_fill_the_memory() -> None:
    """A program that prints no line ends is followed in pieces."""

    class Content:
        async def iter_chunked(self, _size: int) -> AsyncIterator[bytes]:
            for _ in range(40):
                yield b"x" * 16_384
            yield b"end\n"

    response: Any = SimpleNamespace(headers={"Content-Type": "application/vnd.docker.raw-stream"}, content=Content())
    pieces = [line.text async for line in read_output(response)]
    assert max(map(len, pieces)) <= LONGEST + 16_384
    assert "".join(pieces) == "x" * 16_384 * 40 + "end"


async def test_images_without_a_name_have_no_tag(engine: Engine, runtime: DockerEngine) -> None:
    """Older engines write <none>:<none>; a shared size that was not found out is 0."""
    row = {"Id": "sha256:a", "RepoTags": ["<none>:<none>"], "Labels": {}, "Size": 9, "SharedSize": -1, "Created": 1}
    engine.answers["GET images/json"] = (200, [row])
    engine.answers["GET containers/json"] = (200, [{"ImageID": "sha256:a"}, {"ImageID": "sha256:b"}])
    (image,) = await runtime.images(sizes=True)
    assert (image.tags, image.size, image.shared) == ([], 9, 0)
    assert await runtime.used_images() == {"sha256:a", "sha256:b"}


async def test_a_container_that_somebody_disconnected_is_noticed(engine: Engine, runtime: DockerEngine) -> None:
    """The listing tells that a known container left the network it was made for; another one may come on top of it."""
    labels = {"band.service": "one", "band.namespace": "ns", "band.config": "c0ffee"}
    net = {"NetworkID": "0123456789abcdef"}

    async def listed(mode: str, networks: dict[str, Any], known: list[Any]) -> list[Any]:
        host, at = {"NetworkMode": mode}, {"Networks": networks}
        row = {"Id": "one", "Names": ["/one"], "State": "running", "Status": "Up", "Labels": labels}
        engine.answers["GET containers/json"] = (200, [{**row, "HostConfig": host, "NetworkSettings": at}])
        whole = {**details("one", labels), "HostConfig": host, "NetworkSettings": at}
        engine.answers["GET containers/one/json"] = (200, whole)
        return await runtime.containers(known)

    first = await listed("net", {"net": net}, [])
    engine.asked.clear()
    assert (await listed("net", {"net": net, "more": {}}, first))[0].cut_off_from == ""
    assert "one" not in str(engine.asked)
    assert (await listed("net", {}, first))[0].cut_off_from == "net"
    assert (await listed("net", {"more": {}}, first))[0].cut_off_from == "net"
    for mode, networks in (("host", {}), ("none", {}), ("container:x", {}), ("0123456789ab", {"net": net})):
        assert (await listed(mode, networks, []))[0].cut_off_from == ""

    engine.answers["GET networks/net"] = (200, {"Name": "net"})
    engine.answers["POST networks/net/connect"] = (200, {})
    await runtime.connect("one", "net", "one")
    assert engine.asked[-1].endswith("networks/net/connect")


async def test_a_network_that_is_known_by_its_id_only_is_not_made_anew(engine: Engine, runtime: DockerEngine) -> None:
    """It would be one that is called by the id of another."""
    gone = "0123456789abcdef" * 4
    with pytest.raises(DockerRefused, match="network 0123456789ab is gone"):
        await runtime.connect("one", gone, "one")
    assert not [asked for asked in engine.asked if "POST" in asked]
    engine.answers[f"GET networks/{gone}"] = (200, {"Name": "net"})
    engine.answers[f"POST networks/{gone}/connect"] = (200, {})
    await runtime.connect("one", gone, "one")


async def test_who_has_a_port_is_told(engine: Engine, runtime: DockerEngine) -> None:
    """A service of ours by its name, anybody else's container by its own, nobody where no container has it."""
    ours = {"band.service": "front", "band.namespace": "ns"}
    rows = [
        {"Names": ["/front"], "Labels": ours, "Ports": [{"PublicPort": 10001}, {"PrivatePort": 9}]},
        {"Names": ["/web"], "Labels": None, "Ports": [{"PublicPort": 80}]},
        {"Names": ["/other-front"], "Labels": {**ours, "band.namespace": "other"}, "Ports": [{"PublicPort": 10002}]},
    ]
    engine.answers["GET containers/json"] = (200, rows)
    told = [await runtime.port_holder(port) for port in (10001, 80, 10002, 9)]
    assert told == ["service front", "container web", "container other-front", ""]
