"""What a request may bring, and how it is told that something is wrong with it: in words, with what to send instead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from director.api import params, server
from director.api.handlers import ENDPOINTS
from director.api.params import DEPTH
from director.api.security import Guard
from director.api.server import error_middleware, routes
from director.errors import InvalidValue
from director.state import desired as spec
from director.state.desired import Limits, check_env, check_limits
from director.validation import IN_WORDS, explain


class Taken:
    """A handler for everything that keeps what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[Any, dict[str, Any]]] = []

    def __getattr__(self, _name: str) -> Any:
        async def handle(given: Any, rest: dict[str, Any]) -> Any:
            self.got.append((given, rest))
            return {}

        return handle


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
async def client(taken: Taken) -> AsyncIterator[TestClient[Any, Any]]:
    guard = Guard(frozenset({"127.0.0.1"}))
    app = web.Application(middlewares=[error_middleware(guard)])
    app.add_routes(routes((endpoint, getattr(taken, endpoint.name)) for endpoint in ENDPOINTS))
    async with TestClient(TestServer(app)) as found:
        yield found


JSON, FORM = "application/json", "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/plain", b'{"env": {"A": "b"}}'),
        ("application/octet-stream", b"x"),
        ("nonsense", b"x"),
        (FORM, b"pos=1x1&pos=2x2"),
        (FORM, b"pos=%ff%fe"),
        (FORM, b"\xff\xfe=1"),
        (FORM + "; charset=nope", b"pos=1x1"),
        (FORM, b'{"env": {"A": "b"}}'),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=x", b"--x\r\nnot a part"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="pos"; filename="a"\r\n\r\n1x1\r\n--x--\r\n',
        ),
        (JSON, b'{"pos": "\\ud800"}'),
        (JSON, b'{"pos": 1e999}'),
        (JSON, b'{"env": ' * (DEPTH + 1) + b"1" + b"}" * (DEPTH + 1)),
        (JSON, b'{"env": {"A": null}}'),
        (JSON, b'{"pos": NaN}'),
        (JSON, b'{"pos": "1x1", "pos": "1x1"}'),
        (JSON, b'{"pos": "1x1", "\\u0070os": "2x2"}'),
        (JSON, b'{"env": {"A": "b", "A": "c"}}'),
        (FORM, b'env={"A": "b", "A": "c"}'),
        (JSON, b'{"nocache": 1}'),
        (JSON, b'{"auto_remove": 0}'),
    ],
)
async def test_what_cannot_be_read_is_a_bad_parameter(
    client: TestClient[Any, Any], taken: Taken, kind: str, body: bytes
) -> None:
    """No body makes the director fail, and none of them is taken for something that it is not."""
    answer = await client.post("/run/one", data=body, headers={"Content-Type": kind})
    error = (await answer.json())["error"]
    assert (answer.status, taken.got) in ((400, []), (422, [])), error
    assert error["hint"]


async def test_a_broken_encoding_of_the_body_is_a_bad_parameter(client: TestClient[Any, Any]) -> None:
    """A body that says it is compressed and is not."""
    headers = {"Content-Type": JSON, "Content-Encoding": "gzip"}
    answer = await client.post("/run/one", data=b'{"pos": "1x1"}', headers=headers)
    assert answer.status == 400


@pytest.mark.parametrize("path", ["/run/one?pos=1x1&pos=1x1", "/call/one/m?a=1&a=2", "/update_config/one?pos=1x1&pos="])
async def test_a_parameter_given_twice_is_a_bad_parameter(client: TestClient[Any, Any], path: str) -> None:
    """Which of the two was meant is not guessed."""
    assert (await client.get(path)).status == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/run/one?dry_run=1", {"dry_run": False}), ("/run/one?dry_run=1", {"dry_run": True}),
        ("/call/one/m?a=1", {"a": "1"}), ("/run/one", {"name": "two"}), ("/run/one?name=one", {}),
    ],
)  # fmt: skip
async def test_a_parameter_in_two_places_is_a_bad_parameter(
    client: TestClient[Any, Any], taken: Taken, path: str, body: dict[str, Any]
) -> None:
    """In the query and the body, or, where it would mean nothing else, in the path and one of them."""
    answer = await client.post(path, json=body)
    assert (answer.status, taken.got) == (400, [])
    assert "twice" in (await answer.json())["error"]["message"]


@pytest.mark.parametrize(
    "path", ["/call/one/m?a=%ff", "/call/one/m?%ff=1", "/call/one/m?a=%ed%a0%80", "/call/one/m?a=%00"]
)
async def test_any_bytes_of_a_query_are_survived(client: TestClient[Any, Any], path: str) -> None:
    """Bytes that are no text come in as the text that stands there, or are refused; nothing breaks."""
    assert (await client.get(path)).status in {200, 400}


async def test_json_sent_as_a_form_is_explained(client: TestClient[Any, Any]) -> None:
    """`curl -d '{…}'` forgets the content type; the hint says so."""
    answer = await client.post("/run/one", data=b'{"env": {"A": "b"}}', headers={"Content-Type": FORM})
    assert "Content-Type: application/json" in (await answer.json())["error"]["hint"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/run/One", "name: must be a name of a-z, 0-9, _ and -"),
        ("/run/one?pos=far", "pos: must be a place on the grid, column x row, as in 2x3"),
        ('/run/one?limits={"memory":"lots"}', "limits.memory: must be an amount of memory, as in 350m"),
        ("/run/one?nocache=perhaps", "nocache: must be true or false, not a string"),
        ("/set_pos/one", "'pos' is missing"),
        ("/logs/one?tail=-1", "tail: must be at least 0"),
        ("/logs/one?tail=99999", "tail: must be at most 10000"),
        ("/call/one/m?timeout__=0", "timeout__: must be at least 0.01"),
        ('/run/one?env={"A B":"c"}', "env (a key): must be a name of letters, digits and _"),
        ("/trace/abc", "id: must be an event's id"),
        ("/logs/one?tail=" + "9" * 400, "tail: "),
    ],
)
async def test_messages_are_in_words(client: TestClient[Any, Any], path: str, words: str) -> None:
    """What is wrong is said with an example, never as a regular expression."""
    error = (await (await client.get(path)).json())["error"]
    assert words in error["message"]
    assert not set("^$\\") & set(error["message"] + error["hint"])


def test_every_pattern_has_its_words() -> None:
    """Whatever pattern stands in a type of the parameters or of band.yml, there are words for it."""
    kinds = [value for value in vars(params).values() if isinstance(value, type) and issubclass(value, msgspec.Struct)]
    text = msgspec.json.encode(msgspec.json.schema_components([*kinds, spec.Spec])).decode()
    patterns = {line.split('"')[0] for line in text.split('"pattern":"')[1:]}
    known = {msgspec.json.encode(pattern).decode().strip('"') for pattern in IN_WORDS}
    assert patterns <= known
    for pattern in IN_WORDS:
        found = _message(pattern)
        assert explain(found) == f"x: must be {IN_WORDS[pattern]}"


def _message(pattern: str) -> str:
    """Return msgspec's own message for a text that does not match."""
    kind = msgspec.defstruct("K", [("x", Annotated[str, msgspec.Meta(pattern=pattern)])])
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"x": "\0 no"}, kind)
    return str(caught.value)


@pytest.mark.parametrize(
    "limits", [Limits(memory="5m"), Limits(memory="0"), Limits(memory="999999999999g"), Limits(cpus=0.001)]
)
def test_limits_that_docker_refuses_are_invalid_values(limits: Limits) -> None:
    """The message names the limit and what it may be."""
    with pytest.raises(InvalidValue, match=r"limits\.(memory|cpus)"):
        check_limits(limits)
    assert check_limits(Limits(memory="6m", cpus=0.5)).memory == "6m"


def test_a_value_too_long_for_linux_is_refused() -> None:
    """A variable of more than 100,000 characters would keep the container from starting."""
    with pytest.raises(InvalidValue):
        check_env({"A": "x" * 100_001})
    for many in ({f"K{number}": "" for number in range(1001)}, {f"K{number}": "x" * 90_000 for number in range(3)}):
        with pytest.raises(InvalidValue, match="env has"):
            check_env(many)


async def test_a_body_that_does_not_come_is_not_waited_for(
    client: TestClient[Any, Any], taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it, and then silence: the request ends with an error, and does nothing."""
    monkeypatch.setattr(server, "BODY_SECONDS", 0.2)

    async def half() -> AsyncIterator[bytes]:
        yield b'{"env": '
        await asyncio.sleep(5)

    answer = await client.post("/run/one", data=half(), headers={"Content-Type": JSON})
    assert (answer.status, (await answer.json())["error"]["message"]) == (400, "request body timed out after 0.2 s")
    assert taken.got == []
