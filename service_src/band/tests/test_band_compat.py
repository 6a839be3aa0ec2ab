"""What services of the original platform import, and the call forms that they use (docs/compatibility.md)."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from prodict import Prodict

import band
from band.compat.redis_factory import RedisFactory
from band.compat.requirements import BROUGHT, adapt, explain
from band.errors import RpcRemoteError

BAND = Path(__file__).parents[1]


@pytest.fixture
def factory(redis):
    return RedisFactory(lambda: redis.dsn)


def test_import_paths_of_the_original():
    """The submodules that original services name."""
    from band.config import environ
    from band.constants import DIRECTOR_SERVICE, FRONTIER_SERVICE, NOTIFY_ALIVE, OK, REQUEST_STATUS
    from band.lib.response import BaseBandResponse

    assert environ.get("PATH")
    assert (DIRECTOR_SERVICE, FRONTIER_SERVICE, NOTIFY_ALIVE, REQUEST_STATUS) == (
        "director", "front", "__iamalive", "__status",
    )  # fmt: skip
    assert OK
    assert isinstance(band.response.data({}), BaseBandResponse)


def test_jsonrpcclients_error_catches_bands():
    """`except ReceivedErrorResponse` catches what rpc.request raises."""
    from jsonrpcclient.exceptions import JsonRpcClientError, ReceivedErrorResponse

    with pytest.raises(ReceivedErrorResponse) as caught:
        raise RpcRemoteError(-32601, "Method not found", {"a": 1})
    assert (caught.value.code, caught.value.message, caught.value.data) == (-32601, "Method not found", {"a": 1})
    assert issubclass(ReceivedErrorResponse, JsonRpcClientError)


def test_prodict_gives_none_for_what_is_missing():
    """As 0.8.3: attributes, nested mappings, None for the missing; today's 0.8.23 raises."""
    user = Prodict.from_dict({"a": {"b": [{"c": 1}, 2]}, "init": 5})
    assert user.a.b[0].c == 1
    assert user.sess_no is None
    assert user.init == 5
    user.new = {"x": 1}
    user["other"] = {"y": None}
    assert (user.new.x, user.other.y) == (1, None)
    assert user.to_dict(exclude_none=True)["other"] == {}
    assert type(user.to_dict()["new"]) is dict
    assert isinstance(user, dict)
    with pytest.raises(AttributeError):
        _ = user.__deepcopy__


class Position(Prodict):
    x: int


class Placed(Prodict):
    pos: Position
    all: list[Position]
    state: str = "new"

    def init(self):
        self.ready = True


def test_prodict_subclasses_with_annotations():
    """Declared fields have their defaults, and nested ones their types; `init` of a subclass is run."""
    service = Placed(pos={"x": 1}, all=[{"x": 2}])
    assert isinstance(service.pos, Position)
    assert isinstance(service["all"][0], Position)
    assert (service.state, service["state"], service.ready, service.missing) == ("new", "new", True, None)
    service.state = "running"
    assert (service.state, service["state"]) == ("running", "running")


async def test_execute_gives_what_redis_gives(factory):
    """Bytes, integers, flat lists and None, not redis-py's conversions."""
    client = await factory.create_client()
    assert await client.execute("SET", "k", "v") == b"OK"
    assert await client.execute("get", "k") == b"v"
    assert await client.execute("GET", "none") is None
    assert await client.execute("HSET", "h", "f", 1, "g", b"\xff") == 2
    assert await client.execute("HGETALL", "h") == [b"f", b"1", b"g", b"\xff"]
    assert await client.execute("INCR", "n") == 1
    assert await client.execute("PING") == b"PONG"
    with pytest.raises(AttributeError, match="inner"):
        client.multi_exec()
    assert client.closed is False
    client.close()
    await client.wait_closed()
    assert client.closed is True


async def test_pool_lends_clients_in_every_old_form(factory):
    """`async with pool.get() as c`, `with await pool as c`, and commands on the pool itself."""
    pool = await factory.create_pool(maxsize=2)
    async with pool.get() as client:
        assert await client.execute("SET", "k", "1") == b"OK"
    with await pool as client:
        assert await client.execute("GET", "k") == b"1"
    assert await pool.execute("INCR", "k") == 2
    assert await asyncio.gather(*(pool.execute("GET", "k") for _ in range(20))) == [b"2"] * 20
    connection = await pool.acquire()
    assert await connection.execute("GET", "k") == b"2"
    pool.release(connection)
    pool.close()
    await pool.wait_closed()


async def test_redis_pool_has_commands_as_methods(factory):
    """create_redis_pool: high-level commands with aioredis 1's arguments and answers."""
    client = await factory.create_redis_pool(maxsize=3)
    assert await client.set("k", "v", expire=100) is True
    assert 0 < await client.ttl("k") <= 100
    assert await client.set("k", "w", exist=client.SET_IF_NOT_EXIST) is False
    assert await client.get("k") == b"v"
    assert await client.get("k", encoding="utf-8") == "v"
    assert await client.hmset_dict("h", {"a": 1}, b=2) is True
    assert await client.hgetall("h") == {b"a": b"1", b"b": b"2"}
    assert await client.hgetall("h", encoding="utf-8") == {"a": "1", "b": "2"}
    assert await client.expire("h", 5) is True
    assert await client.expire("none", 5) is False
    assert await client.lpush("l", 1, 2) == 2
    assert await client.lrange("l", 0, -1) == [b"2", b"1"]
    assert await client.sadd("s", "x", "y") == 2
    assert sorted(await client.smembers("s", encoding="utf-8")) == ["x", "y"]
    assert await client.zadd("z", 1, "one", 2.5, "two") == 2
    assert await client.zrange("z", 0, -1, withscores=True) == [(b"one", 1.0), (b"two", 2.5)]
    assert await client.mset({"m": 1, "n": 2}) is True
    assert await client.mget("m", "n", "o") == [b"1", b"2", None]
    assert await client.delete("m", "n") == 2
    assert await client.exists("m") == 0
    assert await client.incr("count") == 1
    with await client as one:
        assert await one.get("k") == b"v"
    await factory.close_pool()
    assert client.closed


async def test_encoding_of_the_client_holds_for_all(factory):
    """`encoding="utf-8"` at creation decodes every reply; encoding=None takes it back for one."""
    client = await factory.create_client(encoding="utf-8")
    await client.set("k", "Ж")
    assert await client.get("k") == "Ж"
    assert await client.execute("GET", "k", encoding=None) == "Ж".encode()
    await factory.close_client()
    assert client.closed


async def test_subscription_with_channel_objects(factory):
    """`channel, = await client.subscribe(name)`, `await channel.get()`, None when the client closes."""
    client = await factory.create_client()
    other = await factory.create_client()
    (channel,) = await client.subscribe("news")
    assert await other.publish("news", "one") == 1
    assert await other.publish_json("news", {"a": 1}) == 1
    assert await channel.wait_message() is True
    assert await channel.get(encoding="utf-8") == "one"
    assert await channel.get_json() == {"a": 1}
    waiting = asyncio.create_task(channel.get())
    await asyncio.sleep(0.05)
    await factory.close_client(client)
    assert await waiting is None
    assert [message async for message in channel.iter()] == []
    await factory.close_client(other)


async def test_aioredis_shim_connects_and_raises_its_own_errors(redis):
    """`aioredis.create_redis_pool(...)`, `aioredis.pool`, tuple addresses, and the errors to catch."""
    import aioredis
    import aioredis.pool

    pool = await aioredis.create_redis_pool(redis.dsn, minsize=1, maxsize=2, encoding="utf-8")
    assert isinstance(pool, aioredis.pool.ConnectionsPool)
    assert isinstance(pool, aioredis.Redis)
    await pool.set("k", "v")
    assert await pool.get("k") == "v"
    with pytest.raises(aioredis.ReplyError):
        await pool.execute("INCR", "k")
    pool.close()
    await pool.wait_closed()
    client = await aioredis.create_redis(("127.0.0.1", redis.port), db=1)
    assert await client.get("k") is None
    await client.wait_closed()
    low = await aioredis.pool.create_pool(redis.dsn)
    async with low.get() as connection:
        assert await connection.execute("GET", "k") == b"v"
    await low.wait_closed()
    away = await aioredis.create_redis("redis://127.0.0.1:1")
    with pytest.raises(aioredis.RedisError):
        await away.ping()
    await away.wait_closed()


REQUIREMENTS_2018 = """\
# the service's own
aiohttp==3.4.4
ujson==1.35
aioredis>=1.1.0,<2
prodict
async_lru==1.0.2
python-dateutil==2.7.3
requests[security]>=2.18 ; python_version < '4'
-e git+https://example.org/rockstat/band-framework.git@master#egg=band
--extra-index-url https://example.org/simple
cchardet==2.1.1
PyYAML == 3.13  # why not
numpy>=1.10
"""


def test_requirements_of_2018_are_adapted_line_by_line():
    """Band's own libraries are not taken back, dead pins are loosened, the rest stays; each change names its line."""
    adapted = adapt(REQUIREMENTS_2018)
    installed = [line for line in adapted.text.splitlines() if line and not line.startswith("#")]
    assert installed == [
        "ujson>=5.10",
        "async-lru>=2.0",
        "python-dateutil==2.7.3",
        "requests[security]>=2.18 ; python_version < '4'",
        "--extra-index-url https://example.org/simple",
        "numpy>=1.10",
    ]
    assert [note.line for note in adapted.changed] == [2, 3, 4, 6, 9, 12]
    assert [note.line for note in adapted.refused] == [11]
    told = "\n".join(explain(adapted, "svc/requirements.txt"))
    assert "svc/requirements.txt, line 2: `aiohttp==3.4.4`" in told
    assert "line 11: `cchardet==2.1.1` is not available" in told
    assert adapt(adapted.text).changed == []
    assert adapt("").text == ""


def test_requirements_command(tmp_path):
    """`band requirements FILE --write` changes the file, and fails when a line cannot be had."""
    file = tmp_path / "requirements.txt"
    file.write_text("structlog==18.2.0\nrequests\n")
    command = [sys.executable, "-m", "band", "requirements", str(file)]
    env = {"PYTHONPATH": str(BAND / "src")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
    assert (done.returncode, file.read_text()) == (0, "structlog==18.2.0\nrequests\n")
    assert "line 1" in done.stderr
    assert subprocess.run([*command, "--write"], env=env, capture_output=True, timeout=30).returncode == 0
    assert file.read_text() == "# part of the base image: structlog==18.2.0\nrequests\n"
    file.write_text("typing==3.6\n")
    assert subprocess.run(command, env=env, capture_output=True, timeout=30).returncode == 1


def test_what_the_base_image_is_said_to_bring_it_brings():
    """The table names band's own dependencies and the modules of its compat folder, nothing else."""
    own = {line.strip().lower() for line in (BAND / "requirements.in").read_text().splitlines() if line.strip()}
    shims = {folder.name for folder in (BAND.parent / "compat/src").iterdir() if (folder / "__init__.py").is_file()}
    told = {name for name, what in BROUGHT.items() if what != "band"}
    assert told <= own | shims
    assert shims <= told


def install(project, folder, into):
    """Build a wheel and unpack it, as pip does."""
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=project, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(into)


@pytest.fixture
def site(tmp_path):
    """A folder of installed packages: band as its wheel brings it, and an aioredis that pip put there."""
    folder = tmp_path / "site"
    install(BAND, tmp_path / "band", folder)
    (folder / "aioredis").mkdir()
    (folder / "aioredis/__init__.py").write_text("create_redis_pool = print\n")
    return folder


def run_in(site, code):
    """Run a program as in a virtual environment with that folder; returns what it printed."""
    begin = (
        "import sys, site; sys.path[:] = [p for p in sys.path if not p.endswith(('band/src', 'compat/src'))]; "
        f"site.addsitedir({str(site)!r}); "
    )
    done = subprocess.run([sys.executable, "-c", begin + code], capture_output=True, text=True, timeout=30, cwd=site)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_installing_band_shadows_nothing(site):
    """Every program gets the aioredis that is installed, one that imports band too."""
    assert not list(site.rglob("*.pth"))
    for begin in ("", "import band; "):
        assert str(site / "aioredis") in run_in(site, f"{begin}import aioredis; print(aioredis.__file__)")


def test_with_the_extra_ours_are_found_before_band_is_imported(site, tmp_path):
    """rockstat-band[compat] brings a file that does it, whatever pip put there; the base image has it."""
    dockerfile = (BAND.parents[1] / "band_images/base/Dockerfile").read_text()
    assert "pip install --no-cache-dir --quiet --no-deps --no-build-isolation /opt/src /opt/compat " in dockerfile
    install(BAND.parent / "compat", tmp_path / "compat", site)
    assert [path.name for path in site.glob("*.pth")] == ["rockstat_band.pth"]
    code = "import aioredis, prodict, jsonrpcclient.exceptions, band; print(aioredis.__file__, band.__file__)"
    told = run_in(site, code)
    assert "compat/aioredis" in told
    assert str(site / "band/__init__.py") in told
