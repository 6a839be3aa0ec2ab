"""The live feed: lines of containers, builds and the director, their bounds, and the sockets that carry them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import struct
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, cast

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from band.testing import capture_logs
from director.api import security, websocket
from director.api.params import Nothing
from director.api.progress import narrate
from director.api.routes import Endpoint, Text
from director.api.security import Guard
from director.api.server import error_middleware, routes
from director.dashboard.login import Login
from director.engine import log_feed as feed_module
from director.engine import logs
from director.engine.interface import Container, Printed
from director.engine.log_feed import KEPT, LONGEST, WAITING, LogFeed, Reader, make_line
from director.engine.logs import LONGEST as LONGEST_PIECE
from director.engine.logs import Joiner
from director.errors import NotFound
from director.images.buildkit import Progress

SECRET = "canary-in-a-line"


class Outputs:
    """Containers' outputs, as an engine would stream them; counts who follows."""

    def __init__(self) -> None:
        self.lines: dict[str, list[Printed]] = {}
        self.following: list[str] = []
        self.begun = 0
        self._come = asyncio.Event()

    def say(self, container: str, text: str, at: float | None = None, stream: Any = "stdout") -> None:
        self.lines.setdefault(container, []).append(Printed(at or time.time(), stream, text))
        self._come.set()
        self._come = asyncio.Event()

    async def __call__(self, container: str, *, tail: int, since: float) -> AsyncGenerator[Printed, None]:
        self.begun += 1
        self.following.append(container)
        try:
            at = max(0, len(self.lines.get(container, [])) - tail)
            while True:
                for line in self.lines.get(container, [])[at:]:
                    at += 1
                    if line.at >= since:
                        yield line
                await self._come.wait()
        finally:
            self.following.remove(container)


def container(name: str, **more: Any) -> Container:
    return Container(**{"id": name * 12, "name": name, "service": name, "env": {"CODE": SECRET, "TZ": "UTC"}, **more})


async def until(found: Any) -> None:
    async with asyncio.timeout(5):
        while not found():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


class House:
    """A feed with its outputs and containers."""

    def __init__(self) -> None:
        self.outputs = Outputs()
        self.containers = [container("a"), container("b")]
        self.feed = LogFeed(self.outputs, self, self._declared)

    async def _declared(self, _name: str) -> tuple[str, ...]:
        return ("CODE",)


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    task = asyncio.create_task(made.feed.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert made.outputs.following == []


async def texts(reader: Reader, count: int) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found += [line.data for line in await reader.take()]
    return found


async def test_containers_are_followed_once_for_all_readers_and_not_without_any(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody reads: nothing is followed. Two read: one stream a container. All leave: it ends a little later."""
    monkeypatch.setattr(feed_module, "LINGER", 0.0)
    monkeypatch.setattr(feed_module, "LOOK", 0.02)
    await asyncio.sleep(0.05)
    assert house.outputs.begun == 0
    async with house.feed.reading() as one:
        await until(lambda: len(house.outputs.following) == 2)
        async with house.feed.reading("a") as two:
            house.outputs.say("a" * 12, "hello")
            assert await texts(one, 1) == await texts(two, 1) == ["hello"]
            assert house.outputs.begun == 2
    await until(lambda: house.outputs.following == [])
    assert house.feed.recent() == []


async def test_a_reader_gets_what_was_said_before_and_only_of_its_service(house: House) -> None:
    """The newest lines first of all, in order of time over all services; `name` leaves out the others."""
    async with house.feed.reading() as first:
        house.outputs.say("a" * 12, "a1", at=100.0)
        house.outputs.say("b" * 12, "b1", at=101.0)
        house.outputs.say("a" * 12, "a2", at=102.0)
        await texts(first, 3)
        house.feed.note("build", "b", "b built")
        async with house.feed.reading() as later, house.feed.reading("b") as only:
            assert await texts(later, 4) == ["a1", "b1", "a2", "b built"]
            assert await texts(only, 2) == ["b1", "b built"]


async def test_a_container_that_comes_later_is_followed_and_one_that_went_is_not(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs is what is followed, also while readers read."""
    monkeypatch.setattr(feed_module, "LOOK", 0.02)
    async with house.feed.reading() as reader:
        await until(lambda: len(house.outputs.following) == 2)
        house.containers.append(container("c"))
        house.outputs.say("c" * 12, "new here")
        assert await texts(reader, 1) == ["new here"]


async def test_secrets_of_the_environment_stand_in_no_line(house: House) -> None:
    """What a service prints of its own secrets, and passwords in URLs, are masked."""
    async with house.feed.reading() as reader:
        house.outputs.say("a" * 12, f"code {SECRET} redis://:pw-pw-pw@redis:6379")
        assert await texts(reader, 1) == ["code *** redis://:***@redis:6379"]
        house.feed.note("build", "a", "pull https://me:pw-pw-pw@index/")
        assert await texts(reader, 1) == ["pull https://me:***@index/"]


async def test_memory_is_bounded_by_lines_and_their_length(house: House) -> None:
    """The newest lines of a service are kept, long ones are cut and say so, a reader who does not read is lost."""
    async with house.feed.reading("a") as reader:
        for number in range(KEPT + 50):
            house.outputs.say("a" * 12, str(number))
        await texts(reader, KEPT)
        await until(lambda: house.feed.recent("a")[-1].data == str(KEPT + 49))
        assert len(house.feed.recent("a")) == KEPT
        assert len(make_line("stdout", "a", "x" * 100_000).data) < LONGEST + 60
        for number in range(WAITING + 1):
            house.feed.note("build", "a", str(number))
        assert reader.lost
        assert await reader.take() == []


def test_the_director_says_what_it_saw() -> None:
    """Started, ended with its code, out of memory, unwell, removed: each in words; the first picture is silent."""
    house = House()
    made = house.feed

    def seen(containers: list[Container], *how: Any) -> None:
        house.containers = containers
        made.note_changes(*how)

    one = container("a", started_at=1.0)
    seen([one])
    assert made.recent() == []
    seen(
        [container("a", started_at=1.0, state="exited", exit_code=137, oom_killed=True), container("b", started_at=2.0)]
    )
    seen([container("b", started_at=2.0, health="unhealthy")])
    said = [(line.cname, line.source, line.data) for line in made.recent()]
    assert said == [
        ("a", "director", "container aaaaaaaaaaaa exited with code 137, OOM-killed"),
        ("b", "director", "container bbbbbbbbbbbb started, image "),
        ("b", "director", "Docker health check: unhealthy"),
        ("a", "director", "container aaaaaaaaaaaa removed"),
    ]
    seen([container("b", started_at=3.0, health="unhealthy")], lambda _: "was OOM-killed")
    assert [line.data for line in made.recent()][-2:] == [
        "container bbbbbbbbbbbb was OOM-killed; Docker started it again",
        "container bbbbbbbbbbbb started, image ",
    ]


def test_pieces_become_lines_with_their_time_and_stream() -> None:
    """Lines that come in pieces, bytes that are no UTF-8, a last line without an end, one that never ends."""
    joiner = Joiner()
    stamp = b"2026-11-24T02:35:10.123456789Z "
    assert joiner.feed("stdout", stamp + b"hel") == []
    assert joiner.feed("stderr", stamp + b"oops \xff\r\n")[0].text == "oops \ufffd"
    (line,) = joiner.feed("stdout", b"lo\n")
    assert (line.text, line.stream, round(line.at, 3)) == ("hello", "stdout", 1795487710.123)
    assert joiner.feed("stdout", b"no stamp here\n")[0] == Printed(0.0, "stdout", "no stamp here")
    assert joiner.feed("stdout", b"x" * LONGEST_PIECE + b"yy")[0].text.endswith("yy")
    joiner.feed("stdout", stamp + b"last")
    assert [line.text for line in joiner.rest()] == ["last"]
    assert struct.calcsize(">BxxxL") == 8


def test_a_builds_progress_is_its_step_and_its_lines() -> None:
    """Steps are counted as BuildKit names them; it is gone when the build is; a failure is said."""
    made = House().feed
    progress = Progress(made)
    with progress.building("a", "ns/a:1"):
        progress.line("a", "#7 [2/5] RUN pip install x")
        progress.line("a", "#7 0.311 Collecting x")
        now = progress.of("a")
        assert now is not None
        assert (now.step, now.steps, now.what, now.lines[-1]) == (2, 5, "RUN pip install x", "Collecting x")
    assert progress.of("a") is None
    with pytest.raises(ValueError, match="broken"), progress.building("a", "ns/a:2"):
        raise ValueError("broken")
    assert made.recent()[-1].data == "building ns/a:2 failed"


@pytest.fixture
async def client(house: House) -> AsyncIterator[TestClient[Any, Any]]:
    guard = Guard(frozenset({"127.0.0.1"}))
    app = web.Application(middlewares=[error_middleware(guard)])
    app.router.add_get("/ws", functools.partial(websocket.serve_lines, house.feed))
    async with TestClient(TestServer(app)) as found:
        yield found


async def test_the_socket_speaks_as_the_original_did(house: House, client: TestClient[Any, Any]) -> None:
    """One JSON object a message, with the original's keys; `close` from the client ends it."""
    async with client.ws_connect("/ws?name=a") as socket:
        house.outputs.say("b" * 12, "not for this one")
        house.outputs.say("a" * 12, "hello", stream="stderr")
        line = json.loads(await asyncio.wait_for(socket.receive_str(), 5))
        assert set(line) == {"id", "cid", "cname", "time", "ts", "source", "data"}
        assert (line["cid"], line["cname"], line["source"], line["data"]) == ("a" * 12, "a", "stderr", "hello")
        assert abs(line["ts"] - time.time() * 1000) < 10_000
        await socket.send_str("close")
        assert (await asyncio.wait_for(socket.receive(), 5)).type is WSMsgType.CLOSE
    await until(lambda: house.feed.readers == 0)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/ws", {"Origin": "http://evil.example"}, 403),
        ("/ws", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("/ws", {"Host": "evil.example"}, 403),
        ("/ws?name=../x", {}, 422),
        ("/ws?since=1", {}, 400),
    ],
)
async def test_the_socket_is_guarded(
    client: TestClient[Any, Any], path: str, headers: dict[str, str], status: int
) -> None:
    """Pages of other sites, foreign names and odd parameters are refused before the socket opens."""
    with pytest.raises(WSServerHandshakeError) as caught:
        await client.ws_connect(path, headers=headers)
    assert caught.value.status == status
    plain = await client.get("/ws")
    assert plain.status == 400


async def test_a_logout_closes_the_sockets_of_its_session(house: House, client: TestClient[Any, Any]) -> None:
    """What was opened with the cookie ends with it; the sockets of others go on."""
    left, other = (security.issue_session("the-token", time.time()) for _ in range(2))
    kept = {one: {"Cookie": f"{security.COOKIE}={one}"} for one in (left, other)}
    async with (
        client.ws_connect("/ws", headers=kept[left]) as closed,
        client.ws_connect("/ws", headers=kept[other]) as open_one,
        client.ws_connect("/ws") as program,
    ):
        await until(lambda: house.feed.readers == 3)
        login = Login("the-token", cast("Any", None), cast("Any", None))
        await login.leave(make_mocked_request("POST", "/dashboard/logout", headers=kept[left]))
        assert (await asyncio.wait_for(closed.receive(), 5)).type in {WSMsgType.CLOSED, WSMsgType.CLOSE}
        await until(lambda: house.feed.readers == 2)
        house.feed.note("build", "a", "more")
        for socket in (open_one, program):
            assert "more" in await asyncio.wait_for(socket.receive_str(), 5)


async def test_the_failure_of_a_run_whose_reader_left_is_logged(house: House) -> None:
    """Nobody waits for it any more, so only the log can tell."""
    goes_on = asyncio.Event()

    async def fail() -> None:
        await goes_on.wait()
        raise NotFound("there is no folder")

    told = narrate(house.feed, "left", fail(), lambda _: {})
    first = asyncio.ensure_future(anext(told))
    await asyncio.sleep(0)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    with capture_logs() as logged:
        goes_on.set()
        await until(lambda: [one for one in logged if one["event"] == "run_failed"])
    (one,) = logged
    assert (one["service"], one["reason"]) == ("left", "there is no folder")


async def test_a_slow_reader_is_let_go_with_a_word(
    house: House, client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for whom too many lines wait gets a last line that says so, and a close code that says try again."""
    async with client.ws_connect("/ws") as socket:
        await until(lambda: house.feed.readers == 1)
        for number in range(WAITING + 10):  # in one turn of the loop: nothing can leave meanwhile
            house.feed.note("build", "a", str(number))
        line = json.loads(await asyncio.wait_for(socket.receive_str(), 5))
        assert "too slow" in line["data"]
        closed = await asyncio.wait_for(socket.receive(), 5)
        assert (closed.type, closed.data) == (WSMsgType.CLOSE, 1013)
    monkeypatch.setattr(websocket, "MOST_CLIENTS", 0)
    with pytest.raises(WSServerHandshakeError) as caught:
        await client.ws_connect("/ws")
    assert caught.value.status == 409


class Silent:
    """A runtime whose container says one line and then nothing."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def output(self, _container: str, *, tail: int) -> AsyncGenerator[Printed, None]:
        try:
            yield Printed(1.0, "stdout", f"first {SECRET}")
            await asyncio.Event().wait()
        finally:
            self.ended.set()


async def test_following_a_silent_service_ends_when_who_asked_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that leaves is noticed although the service prints nothing, and the engine's stream is let go."""
    monkeypatch.setattr(logs, "SILENCE", 0.05)
    runtime: Any = Silent()

    async def follow(_given: Any) -> Text:
        return Text(logs.follow(runtime, container("a"), 10, ["CODE"]))

    endpoint = Endpoint("/follow", "", "follow", Nothing, str, text=True)
    guard = Guard(frozenset({"127.0.0.1"}))
    app = web.Application(middlewares=[error_middleware(guard)])
    app.add_routes(routes([(endpoint, follow)]))
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/follow")
        assert await answer.content.readline() == b"first ***\n"
        answer.close()
        await asyncio.wait_for(runtime.ended.wait(), 5)


def test_a_session_is_good_until_it_ends_and_for_its_token_only() -> None:
    """Another token, another time, another byte: no session; the token stands nowhere in it."""
    made = security.issue_session("the-token", 1000.0)
    assert security.is_session(made, "the-token", 1001.0)
    assert not security.is_session(made, "another", 1001.0)
    assert not security.is_session(made, "the-token", 1000.0 + security.LIFETIME)
    assert "the-token" not in made
    end, nonce, signature = made.split(".")
    longer = f"{int(end) + 1}.{nonce}.{signature}"
    for wrong in (longer, made[:-1], f"{made}0", "", "..", "x", signature, "\udcff.\udcff"):
        assert not security.is_session(wrong, "the-token", 1001.0)
    assert security.issue_session("the-token", 1000.0) != made


def test_a_session_that_was_left_is_over() -> None:
    """A cookie that somebody kept opens nothing after the logout; other sessions go on, and none is kept for ever."""
    left, other = (security.issue_session("the-token", 1000.0) for _ in range(2))
    security.end_session("1.2.3", "the-token", 1001.0)
    security.end_session(left, "another", 1001.0)
    assert security.is_session(left, "the-token", 1001.0)
    security.end_session(left, "the-token", 1001.0)
    assert not security.is_session(left, "the-token", 1001.0)
    assert security.is_session(other, "the-token", 1001.0)
    later = security.issue_session("the-token", 100_000.0)
    security.end_session(later, "the-token", 100_000.0)
    assert left not in security._ended
    assert later in security._ended


async def test_logging_out_ends_the_session_of_the_cookie() -> None:
    """The browser is told to forget the cookie, and whoever kept it is not let in with it."""
    login = Login("the-token", cast("Any", None), cast("Any", None))
    kept = security.issue_session("the-token", time.time())
    asked = make_mocked_request("POST", "/dashboard/logout", headers={"Cookie": f"{security.COOKIE}={kept}"})
    answer = await login.leave(asked)
    assert answer.status == 303
    assert answer.cookies[security.COOKIE]["max-age"] == "0"
    assert not security.is_session(kept, "the-token", time.time())


def test_the_session_is_read_from_its_cookie_alone() -> None:
    """Other cookies, broken ones and endless ones are no session."""
    assert security.session_cookie({"Cookie": f"a=b; {security.COOKIE}=1.x.y; c=d"}) == "1.x.y"
    for raw in ("", "a=b", f"x{security.COOKIE}=1", f"{security.COOKIE}=" + "1" * 5000, "=;;;=,"):
        assert security.session_cookie({"Cookie": raw}) == ""


def test_a_session_opens_what_the_token_opens() -> None:
    """With the cookie the guard lets in; without it, or with one of another token, it does not."""
    from director.errors import TokenMissing

    guard = Guard(frozenset({"127.0.0.1"}), "the-token", open_prefixes=("/dashboard/login",))
    host = {"Host": "127.0.0.1"}
    guard.check("/list", {**host, "Cookie": f"{security.COOKIE}={security.issue_session('the-token', time.time())}"})
    guard.check("/dashboard/login", host)
    for cookie in (
        "",
        f"{security.COOKIE}=1.2.3",
        f"{security.COOKIE}={security.issue_session('old-token', time.time())}",
    ):
        with pytest.raises(TokenMissing):
            guard.check("/list", {**host, "Cookie": cookie})
