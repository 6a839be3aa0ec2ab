"""The director makes a Redis user for each service, keeps them through whatever happens to Redis, and removes them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_with_users import DIRECTOR, Client, RedisWithUsers, free_port

from band.errors import RedisReplyError
from band.redis import RedisAddress, RedisLink
from director.deploy.spec_builder import PlatformConfig
from director.engine.snapshot import Snapshot
from director.errors import ConfigError
from director.locks import Locks
from director.redis.users import RedisUsers, UserKeeper, user_in
from director.settings import DirectorSettings
from director.state.desired import Desired, DesiredService, Spec

NAMESPACE = "rockstat"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisWithUsers]:
    """A Redis with the users of the playbook."""
    found = RedisWithUsers(tmp_path, free_port())
    found.start()
    yield found
    found.stop()


@pytest.fixture
async def link(redis: RedisWithUsers) -> AsyncIterator[RedisLink]:
    """The director's connection."""
    found = RedisLink("director")
    found.start(RedisAddress.parse(redis.dsn()))
    await found.ready(10)
    yield found
    await found.close()


@pytest.fixture
def users(redis: RedisWithUsers, link: RedisLink) -> RedisUsers:
    """The director's users."""
    return RedisUsers(link, redis.dsn(), f"redis://redis:{redis.port}/0", NAMESPACE)


def rotated(redis: RedisWithUsers, store: Any) -> RedisUsers:
    """The users of a director with another password."""
    return RedisUsers(store, redis.dsn(password="another-password-of-it"), f"redis://redis:{redis.port}/0", NAMESPACE)


def names(redis: RedisWithUsers) -> set[str]:
    """Return the users that Redis has, without those of the playbook."""
    with redis.admin() as admin:
        return {name.decode() for name in admin("ACL", "USERS")} - {"admin", "director", "default"}


def sign_in(redis: RedisWithUsers, dsn: str) -> Client:
    address = RedisAddress.parse(dsn)
    return Client(redis.port, address.username, address.password)


async def eventually(found: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 15
    while not found():
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(0.02)


async def test_a_service_signs_in_with_what_it_is_given(redis: RedisWithUsers, users: RedisUsers) -> None:
    """Its address names its user and password, and the host and database that services were to use."""
    await users.make("front", ())
    dsn = users.dsn("front")
    assert dsn.endswith(f"@redis:{redis.port}/0") and DIRECTOR not in dsn
    with sign_in(redis, dsn) as client:
        assert client("ACL", "WHOAMI") == users.user("front").encode()
        assert "NOPERM" in str(client("FLUSHALL"))


async def test_passwords_are_derived_and_differ(redis: RedisWithUsers, link: RedisLink, users: RedisUsers) -> None:
    """The next director derives the same ones; another service, and another password of the director, give others."""
    again = RedisUsers(link, redis.dsn(), f"redis://redis:{redis.port}/0", NAMESPACE)
    assert again.dsn("front") == users.dsn("front")
    passwords = {RedisAddress.parse(dsn).password for dsn in (users.dsn("a"), users.dsn("b"))}
    passwords.add(RedisAddress.parse(rotated(redis, link).dsn("a")).password)
    assert len(passwords) == 3 and min(map(len, passwords)) == 40


async def test_users_outlive_redis_while_the_director_is_away(redis: RedisWithUsers, users: RedisUsers) -> None:
    """Redis writes them down: a service that reconnects after its restart gets in without the director."""
    await users.make("uaparser", ())
    redis.stop()
    redis.start()
    with sign_in(redis, users.dsn("uaparser")) as client:
        assert client("PING") == b"PONG"


async def test_what_nobody_needs_is_removed_and_its_connections_with_it(
    redis: RedisWithUsers, users: RedisUsers
) -> None:
    """A removed service's user goes; one that somebody works on, and users that are not ours, stay."""
    for service in ("gone", "new", "stays"):
        await users.make(service, ())
    with redis.admin() as admin:
        admin("ACL", "SETUSER", "grafana", "on", ">canary-of-somebody")
    with sign_in(redis, users.dsn("gone")) as client:
        await users.tidy({"stays": ()}, in_use=(), busy={"new"})
        assert names(redis) == {users.user("stays"), users.user("new"), "grafana"}
        with pytest.raises((AssertionError, OSError)):
            client("PING")


async def test_a_new_password_of_the_director_leaves_nobody_outside(
    redis: RedisWithUsers, link: RedisLink, users: RedisUsers
) -> None:
    """Containers of before keep their user until they are replaced; then it ends."""
    await users.make("ledger", ())
    later = rotated(redis, link)
    await later.make("ledger", ())
    await later.tidy({"ledger": ()}, in_use={users.user("ledger")}, busy=())
    for given in (users, later):
        with sign_in(redis, given.dsn("ledger")) as client:
            assert client("SET", "ledger:x", "1") == b"OK"
    await later.tidy({"ledger": ()}, in_use={later.user("ledger")}, busy=())
    assert names(redis) == {later.user("ledger")}


async def test_rules_are_renewed_without_cutting_anybody_off(redis: RedisWithUsers, link: RedisLink) -> None:
    """The next director sets the rules again; who listens on a channel, under a user of before too, goes on to."""
    users = RedisUsers(link, redis.dsn(), redis.dsn(), NAMESPACE)
    await users.make("news", ())
    listening = RedisLink("news", on_message=lambda _channel, data: heard.append(data))
    heard: list[bytes] = []
    await listening.subscribe("news")
    listening.start(RedisAddress.parse(users.dsn("news")))
    await listening.ready(10)
    for director in (RedisUsers(link, redis.dsn(), redis.dsn(), NAMESPACE), rotated(redis, link)):
        await director.tidy({"news": ("more:*",)}, in_use={users.user("news")}, busy=())
    link.publish("news", b"still here")
    await eventually(lambda: heard)
    assert await listening.command("SET", "more:x", "1") == b"OK" and not listening.reconnects
    await listening.close()


async def test_default_is_on_only_as_long_as_a_container_signs_in_with_it(tmp_path: Path) -> None:
    """On a host that had one password for all, the services of before go on until they are replaced."""
    redis = RedisWithUsers(tmp_path, free_port(), default="on >canary-of-before ~* &* +@all -@admin -@dangerous +info")
    redis.start()
    link = RedisLink("director")
    link.start(RedisAddress.parse(redis.dsn()))
    await link.ready(10)
    try:
        users = RedisUsers(link, redis.dsn(), redis.dsn(), NAMESPACE)
        await users.tidy({"front": ()}, in_use={"default"}, busy=())
        with Client(redis.port, "default", "canary-of-before") as before:
            assert before("XLEN", "events") == 0
            await users.tidy({"front": ()}, in_use={users.user("front")}, busy=())
            assert "NOPERM" in str(before("XLEN", "events"))
        redis.stop()
        redis.start()
        with Client(redis.port) as client:
            assert "WRONGPASS" in str(client("AUTH", "canary-of-before"))
    finally:
        await link.close()
        redis.stop()


async def test_a_redis_that_lets_nobody_make_users_is_told(redis: RedisWithUsers) -> None:
    """A deploy fails with Redis' reason, and so does the keeper's loop, which `/health` shows; without a password."""
    with redis.admin() as admin:
        admin("ACL", "SETUSER", "poor", "on", ">canary-poor-password", "+@all", "-@admin", "~*", "&*")
    link = RedisLink("poor")
    dsn = redis.dsn("poor", "canary-poor-password")
    link.start(RedisAddress.parse(dsn))
    await link.ready(10)
    users = RedisUsers(link, dsn, dsn, NAMESPACE)
    keeper = UserKeeper(users, link, await desired(link), snapshot(), Locks())
    for attempt in (users.make("front", ()), keeper.look()):
        with pytest.raises(RedisReplyError, match="NOPERM") as error:
            await attempt
        assert "canary" not in str(error.value)
    await link.close()


async def test_users_are_made_again_for_a_redis_that_lost_them(redis: RedisWithUsers, link: RedisLink) -> None:
    """As soon as the director is connected again, whether Redis keeps its users in a file or not."""
    users = RedisUsers(link, redis.dsn(), redis.dsn(), NAMESPACE)
    keeper = UserKeeper(users, link, await desired(link), snapshot(), Locks())
    await keeper.look()
    assert names(redis) == {users.user("ledger")}
    redis.stop()
    redis.write_users()
    redis.start()
    await eventually(lambda: link.reconnects and link.connected)
    await keeper.look()
    with sign_in(redis, users.dsn("ledger")) as client:
        assert client("PING") == b"PONG"


async def test_a_user_that_somebody_removed_is_made_again(redis: RedisWithUsers, users: RedisUsers) -> None:
    """The keeper asks every half minute whom Redis has; its own memory is not believed."""
    await users.tidy({"ledger": ()}, in_use=(), busy=())
    with redis.admin() as admin:
        assert admin("ACL", "DELUSER", users.user("ledger")) == 1
    await users.tidy({"ledger": ()}, in_use=(), busy={"ledger"})
    assert names(redis) == {users.user("ledger")}


async def test_nothing_is_removed_while_nobody_knows_what_runs(redis: RedisWithUsers, link: RedisLink) -> None:
    """Without Docker a container of before may be there, unseen: its user stays, and so does `default`."""
    users = RedisUsers(link, redis.dsn(), redis.dsn(), NAMESPACE)
    await users.make("unseen", ())
    seen = snapshot()
    seen.error = "no socket"
    keeper = UserKeeper(users, link, await desired(link), seen, Locks())
    await keeper.look()
    assert names(redis) == {users.user("unseen"), users.user("ledger")}
    seen.error = ""
    await keeper.look()
    assert names(redis) == {users.user("ledger")}


async def test_services_without_a_password_sign_in_where_that_is_set(redis: RedisWithUsers, link: RedisLink) -> None:
    """`default` is on without a password, again after Redis forgot it, and off as soon as the setting is."""
    users = RedisUsers(link, redis.dsn(), redis.dsn(), NAMESPACE, anonymous=True)
    with Client(redis.port) as client:
        assert "NOAUTH" in str(client("PING"))
    await users.tidy({}, frozenset(), frozenset())
    with Client(redis.port) as client:
        assert client("CLIENT", "SETNAME", "redis-fast-driver[host:PID-1]") == b"OK"
        assert client("HMSET", "s:1234567890", "plan", '"pro"') == b"OK"
        assert client("EXPIRE", "s:1234567890", "60") == 1
        assert client("HGETALL", "s:1234567890") == [b"plan", b'"pro"']
        assert "NOPERM" in str(client("XRANGE", "events", "-", "+"))
        with Client(redis.port) as peer:
            assert client("SUBSCRIBE", "kafkastream")[0] == b"subscribe"
            assert peer("PUBLISH", "kafkastream", "x") == 1
    with redis.admin() as admin:
        admin("ACL", "SETUSER", "default", "reset")
    await users.tidy({}, frozenset(), frozenset())
    with Client(redis.port) as client:
        assert client("PING") == b"PONG"
    await RedisUsers(link, redis.dsn(), redis.dsn(), NAMESPACE).tidy({}, frozenset(), frozenset())
    with Client(redis.port) as client:
        assert "NOAUTH" in str(client("PING"))


async def test_one_who_signs_in_as_default_keeps_its_rights(redis: RedisWithUsers, link: RedisLink) -> None:
    """While a container of before uses `default` with a password, nothing is changed for it."""
    with redis.admin() as admin:
        admin("ACL", "SETUSER", "default", "reset", "on", ">of-before", "~*", "&*", "+@all")
    users = RedisUsers(link, redis.dsn(), redis.dsn(), NAMESPACE, anonymous=True)
    await users.tidy({}, frozenset({"default"}), frozenset())
    with Client(redis.port, "default", "of-before") as client:
        assert client("XADD", "events", "*", "event", "x")


async def test_protected_mode_locks_nobody_out(tmp_path: Path) -> None:
    """There Redis would refuse every connection from outside: `default` stays off, and the director is let in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address = probe.getsockname()[0]
    redis = RedisWithUsers(tmp_path, free_port(), addresses=[address])
    redis.start()
    link = RedisLink("director")
    try:
        link.start(RedisAddress.parse(redis.dsn(host=address)))
        await link.ready(10)
        users = RedisUsers(link, redis.dsn(host=address), redis.dsn(), NAMESPACE, anonymous=True)
        for _ in range(2):
            await users.tidy({}, frozenset(), frozenset())
        with Client(redis.port) as client:
            assert "NOAUTH" in str(client("PING"))
        again = RedisLink("director")
        again.start(RedisAddress.parse(redis.dsn(host=address)))
        await again.ready(5)
        await again.close()
    finally:
        await link.close()
        redis.stop()


def snapshot() -> Snapshot:
    """A snapshot in which nothing runs."""
    engine: Any = None
    found = Snapshot(engine, NAMESPACE)
    found.error = ""
    found.ready.set()
    return found


async def desired(link: RedisLink) -> Desired:
    """A desired state with one service."""
    found = Desired(link, NAMESPACE)
    await found.load()
    await found.put(DesiredService(spec=Spec(name="ledger", image="ns/ledger:1", network="ns", redis_keys=())))
    return found


READ = [
    ("redis://:pw@redis:6379/0", "default"),
    ("redis://redis:6379", "default"),
    ("redis://front.0a1b2c3d:pw@redis:6379/0", "front.0a1b2c3d"),
    ("nonsense", ""),
    ("", ""),
]


@pytest.mark.parametrize(("dsn", "user"), READ)
def test_the_user_of_a_container_is_read_from_its_address(dsn: str, user: str) -> None:
    """One without a user signs in as `default`; one without an address does not sign in."""
    assert user_in({"REDIS_DSN": dsn}) == user


async def test_a_container_gets_its_own_address_of_redis(users: RedisUsers) -> None:
    """Its environment differs from its neighbour's; what all are given changes with the director's password."""
    given = {"namespace": NAMESPACE, "network": "net", "memory": "350m"}
    around = PlatformConfig(**given, env={"REDIS_DSN": "redis://:shared@redis", "PORT": "8080"}, users=users)
    assert around.env_of("front") == {
        "REDIS_DSN": users.dsn("front"), "PORT": "8080", "BAND_GRANTS": f"{NAMESPACE}:director:grants:front",
    }  # fmt: skip
    plain = PlatformConfig(**given, env=around.env)
    assert plain.env_of("front") == around.env
    other = PlatformConfig(**given, env=around.env | {"REDIS_DSN": "redis://:other@redis"})
    assert len({around.platform, plain.platform, other.platform}) == 3


def test_who_gives_users_is_a_named_user_itself() -> None:
    """With BAND_REDIS_USERS the director needs a user and its password; without it nothing changes."""
    assert not DirectorSettings.read({"REDIS_HOST": "redis"}).redis_users
    named = {"REDIS_HOST": "redis", "REDIS_USER": "director", "REDIS_PASSWORD": "canary", "BAND_REDIS_USERS": "true"}
    settings = DirectorSettings.read(named)
    assert settings.redis_users and settings.redis_dsn.reveal() == "redis://director:canary@redis:6379/0"
    for wrong in ({"REDIS_USER": ""}, {"REDIS_PASSWORD": ""}, {"BAND_REDIS_USERS": "maybe"}):
        with pytest.raises(ConfigError) as error:
            DirectorSettings.read(named | wrong)
        assert "BAND_REDIS_USERS" in error.value.message and "canary" not in error.value.message
    assert DirectorSettings.read(named | {"BAND_REDIS_ANONYMOUS": "yes"}).redis_anonymous
    assert not DirectorSettings.read(named).redis_anonymous
    with pytest.raises(ConfigError, match="BAND_REDIS_ANONYMOUS needs BAND_REDIS_USERS"):
        DirectorSettings.read({"REDIS_HOST": "redis", "BAND_REDIS_ANONYMOUS": "yes"})
