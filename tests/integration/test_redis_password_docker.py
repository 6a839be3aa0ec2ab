"""Redis' password changes, or services get users of their own: every service that runs is on the bus again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from director_host import BASE_IMAGE, Director, Redis, docker, start_redis, until
from redis_with_users import DIRECTOR, Client

pytestmark = [pytest.mark.docker, pytest.mark.timeout(170)]

NAMESPACE = "t-dir-pw"
NEW = "canary-redis-password-of-tomorrow"
BEFORE = f"on >{DIRECTOR} ~* &* +@all -@admin -@dangerous +info"
Start = Callable[..., Director]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    (tmp_path / "redis").mkdir()
    server = start_redis(NAMESPACE, tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture
def director(redis: Redis, tmp_path: Path) -> Iterator[Start]:
    """A function that starts a director, in the place of the one before."""
    made: list[Director] = []

    def start(**env: str) -> Director:
        if not made:
            folder = tmp_path / "director"
            folder.mkdir()
            made.append(Director(folder, redis, redis.gateway, namespace=NAMESPACE, ports="8550-8599", **env))
        else:
            made[0].end()
            made[0].env.update(env)
            made[0].start()
        return made[0]

    yield start
    made[0].clear()
    made[0].end()


def user_of(service: str) -> str:
    """Return the Redis user in a container's environment, empty for one that names none."""
    env = json.loads(docker("inspect", "-f", "{{json .Config.Env}}", f"{NAMESPACE}-{service}", check=False) or "[]")
    if not env:
        return "nobody has this container's name while a new one takes it over"
    dsn = next(item for item in env if item.startswith("REDIS_DSN="))
    return dsn.partition("//")[2].partition(":")[0]


def users(redis: Redis) -> set[str]:
    """Return the users of services that Redis has."""
    with redis.admin() as admin:
        return {name.decode() for name in admin("ACL", "USERS")} - {"admin", "director", "default"}


def rotate(redis: Redis, default: str = "off") -> dict[str, str]:
    """Restart Redis with another password of the director, as the playbook does; returns the director's addresses."""
    kept = [line for line in redis.users.read_text().splitlines(keepends=True) if line.split()[1].count(".")]
    redis.stop()
    redis.write_users(NEW, default=default, kept="".join(kept))
    redis.start()
    return {"REDIS_DSN": redis.dsn(password=NEW), "BAND_SERVICE_REDIS_DSN": redis.dsn(password=NEW, host=redis.gateway)}


def speaks(found: Director, service: str) -> bool:
    return bool(found.ask(f"/call/{service}/greet")[0] == 200)


def test_a_new_password_reaches_services_that_nobody_lists(redis: Redis, director: Start) -> None:
    """They go on as who they were, are replaced by the director itself, and then who they were is nobody any more."""
    found = director()
    for name in ("ledger", "visits"):
        found.write(name)
        found.ok(f"/run/{name}")
    before = {user_of("ledger"), user_of("visits")}
    assert users(redis) == before and user_of("ledger").startswith("ledger.")

    found = director(**rotate(redis), BAND_RENEW_AFTER="5")
    until(lambda: speaks(found, "ledger") and speaks(found, "visits"), 10)
    until(lambda: not users(redis) & before, 60)
    assert users(redis) == {user_of("ledger"), user_of("visits")}
    assert speaks(found, "ledger") and speaks(found, "visits")
    assert set(redis.refusals()) <= {"director auth HELLO"}  # of the director before, until it was stopped


ORIGINAL = """
import json, socket, sys, time

def send(to, *words):
    to.sendall(b"*%d\\r\\n" % len(words) + b"".join(b"$%d\\r\\n%b\\r\\n" % (len(w), w) for w in words))

def connect():
    found = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    send(found, b"CLIENT", b"SETNAME", b"redis-fast-driver[host:PID-1]")
    return found

def publish(**message):
    send(publisher, b"PUBLISH", message.pop("channel").encode(), json.dumps({"jsonrpc": "2.0", **message}).encode())

publisher, subscriber = connect(), connect()
for channel in (b"kafkastream", b"broadcast"):
    send(subscriber, b"SUBSCRIBE", channel)
subscriber.settimeout(0.5)
received = b""
while True:
    publish(channel="director", method="director:__iamalive:kafkastream", params={"name": "kafkastream"})
    try:
        received += subscriber.recv(65536)
    except TimeoutError:
        continue
    *lines, received = received.split(b"\\r\\n")
    for line in lines:
        if line[:1] == b"-":
            sys.exit(line.decode())
        if line[:1] == b"{":
            asked = json.loads(line)
            _, method, sender = asked["method"].split(":")
            result = {"app_state": "running", "methods": []} if method == "__status" else {"method": method}
            publish(channel=sender, id=asked["id"], **{"from": "kafkastream", "to": sender}, result=result)
"""


def test_services_without_a_password_join_from_the_docker_network(redis: Redis, director: Start) -> None:
    """One that speaks as redis-fast-driver does, from a container, is listed and called once that is set."""
    redis.stop()
    redis.protected = False
    redis.start()
    found = director(BAND_REDIS_ANONYMOUS="yes")
    name = f"{NAMESPACE}-original"
    docker("rm", "-f", name, check=False)
    docker(
        "run", "-d", "--name", name, "--network", NAMESPACE, "--restart=always", BASE_IMAGE,
        "python", "-c", ORIGINAL, redis.gateway, str(redis.port),
    )  # fmt: skip
    try:
        until(lambda: found.row("kafkastream").get("state") == "external", 20)
        assert found.ok("/call/kafkastream/greet") == {"method": "greet"}
        redis.stop()
        redis.start()
        until(lambda: found.ask("/call/kafkastream/greet")[0] == 200, 20)
        assert redis.refusals() == []
    finally:
        docker("rm", "-f", name, check=False)


def test_one_password_for_all_may_change_too(redis: Redis, director: Start) -> None:
    """Without users a new password locks everybody out; who is silent is replaced without delay."""
    redis.stop()
    redis.write_users(default=BEFORE)
    redis.start()
    plain = {"BAND_REDIS_USERS": "no", "REDIS_DSN": f"redis://:{DIRECTOR}@127.0.0.1:{redis.port}"}
    found = director(**plain, BAND_SERVICE_REDIS_DSN=f"redis://:{DIRECTOR}@{redis.gateway}:{redis.port}")
    found.write("ledger")
    found.ok("/run/ledger")
    assert user_of("ledger") == ""

    rotate(redis, default=BEFORE.replace(DIRECTOR, NEW))
    plain["REDIS_DSN"] = f"redis://:{NEW}@127.0.0.1:{redis.port}"
    found = director(**plain, BAND_SERVICE_REDIS_DSN=f"redis://:{NEW}@{redis.gateway}:{redis.port}")
    until(lambda: speaks(found, "ledger"), 60)


def test_a_host_with_one_password_for_all_gets_users(redis: Redis, director: Start) -> None:
    """Services of the release before go on as `default` until each is replaced; then `default` is off."""
    redis.stop()
    redis.write_users(default=BEFORE)
    redis.start()
    shared = f"redis://:{DIRECTOR}@{{}}:{redis.port}"
    found = director(
        BAND_REDIS_USERS="no", REDIS_DSN=shared.format("127.0.0.1"), BAND_SERVICE_REDIS_DSN=shared.format(redis.gateway)
    )
    found.write("ledger")
    found.ok("/run/ledger")

    given = {"REDIS_DSN": redis.dsn(), "BAND_SERVICE_REDIS_DSN": redis.dsn(host=redis.gateway)}
    found = director(**given, BAND_REDIS_USERS="yes", BAND_RENEW_AFTER="8")
    until(lambda: speaks(found, "ledger"), 10)
    assert user_of("ledger") == ""
    with Client(redis.port, "default", DIRECTOR) as client:
        assert client("PING") == b"PONG"
    until(lambda: user_of("ledger").startswith("ledger."), 60)
    until(lambda: "user default off" in redis.users.read_text(), 20)
    assert speaks(found, "ledger")
    assert redis.refusals() == []
