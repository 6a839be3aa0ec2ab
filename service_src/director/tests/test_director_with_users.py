"""The whole director on a Redis with named users, as the playbook starts it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_with_users import RedisWithUsers, free_port

NAMESPACE = "t-users"


def until(check: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Return what `check` returns as soon as it is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to be")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisWithUsers]:
    """A Redis with the users of the playbook."""
    (tmp_path / "redis").mkdir()
    found = RedisWithUsers(tmp_path / "redis", free_port(), NAMESPACE)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def director(redis: RedisWithUsers, start_director: Callable[..., Any]) -> Any:
    """A director that gives its services users, with one service that runs."""
    found = start_director(redis.dsn(), BAND_NAMESPACE=NAMESPACE, BAND_REDIS_USERS="yes")
    found.image("ledger", "redis_keys: ['books:*']\n")
    assert found.get("/run/ledger")[0] == 200
    return found


def test_front_is_told_by_a_key_that_the_director_alone_writes(redis: RedisWithUsers, director: Any) -> None:
    """What `/registrations` shows is what stands there; it stands there again when Redis lost it."""

    def kept() -> Any:
        with redis.admin() as admin:
            return json.loads(admin("GET", "front:registrations") or b"null")

    until(lambda: kept() == director.get("/registrations")[1])
    assert [row["service"] for row in kept()["register"]] == ["ledger"]
    redis.stop()
    redis.start()
    assert until(kept) == director.get("/registrations")[1]


def test_the_director_needs_no_right_that_it_has_not(redis: RedisWithUsers, director: Any) -> None:
    """Whatever an operator asks of it, Redis refuses it nothing."""
    with redis.admin() as admin:
        admin("XADD", "events", "*", "event", '{"id": "7530741854237622272", "time": 1795468772471}')
        admin("XGROUP", "CREATE", "events", "ledger", "0")
    director.image("other")
    for path in (
        "/run/other", "/restart/other", "/stop/other", "/start/other", "/run/other?dry_run=1", "/get_config/other",
        "/update_config/other?env.A=1", "/configs_list", "/list", "/state", "/show/other", "/registrations",
        "/ask_state/other", "/call/other/echo?a=1", "/set_pos/other?pos=7x7", "/releases/other", "/events",
        "/events?uid=1",
        "/trace/7530741854237622272", "/dead_letters/other", "/replay_dead_letters/other",
        "/delete_dead_letters/other?all=1", "/prune", "/rebuild_all", "/health", "/metrics", "/rm/other",
    ):  # fmt: skip
        status, text = director.request("GET", path)
        assert status == 200, f"{path}: {text}"
    assert director.request("GET", "/", headers={"Accept": "text/html"})[0] == 200
    until(lambda: "redis_user_removed" in director.log.read_text())
    assert redis.refusals() == []
    assert director.get("/health")[1]["status"] == "ok"


def test_a_services_user_is_in_its_container_and_in_no_answer(redis: RedisWithUsers, director: Any) -> None:
    """Its password is masked like any other secret, in what the service says too."""
    with redis.admin() as admin:
        line = next(line.decode() for line in admin("ACL", "LIST") if line.startswith(b"user ledger."))
    assert " ~ledger:* " in line and " ~books:* " in line
    shown = json.dumps([director.get(path)[1] for path in ("/show/ledger", "/call/ledger/blab", "/ask_state/ledger")])
    assert f"redis://{line.split()[1]}:***@" in shown


def test_services_of_before_are_replaced_one_by_one_and_get_users(
    redis: RedisWithUsers, start_director: Callable[..., Any]
) -> None:
    """They were given something else; nobody asks for it, and none is replaced twice."""
    found = start_director(
        redis.dsn(), BAND_NAMESPACE=NAMESPACE, BAND_REDIS_USERS="yes", BAND_RENEW_AFTER="0", FAKE_SERVICES="3",
        FAKE_PLATFORM="0123456789ab",
    )  # fmt: skip
    names = [f"svc{number:03}" for number in range(3)]
    until(lambda: renewed(found) == names)
    with redis.admin() as admin:
        users = {name.decode().split(".")[0] for name in admin("ACL", "USERS")}
    assert users == {"admin", "default", "director", *names}
    time.sleep(1)
    assert renewed(found) == names
    assert redis.refusals() == []


def renewed(director: Any) -> list[str]:
    """Return the services that were replaced, in that order."""
    return re.findall(r"service_renewed +service=(\w+)", director.log.read_text())


def test_dead_letters_are_for_the_director_alone(redis: RedisWithUsers, director: Any) -> None:
    """A listener answers the director, which wrote a grant; a service that forges `from` and id is refused."""
    director.image("sink")
    assert director.get("/run/sink")[0] == 200
    key = f"{NAMESPACE}:director:grants:sink"
    assert director.get("/dead_letters/sink?limit=3")[0] == 200
    with redis.admin() as admin:
        (kept,) = admin("KEYS", f"{key}:*")
        assert json.loads(admin("GET", kept)) == {"method": "dead_letters", "params": {"limit": 3}}
        assert 0 < admin("TTL", kept) <= 10
        assert director.get("/call/sink/echo?a=1")[0] == 200
        assert admin("KEYS", f"{key}:*") == [kept]
        admin("ACL", "SETUSER", "director", f"%R~{NAMESPACE}:director:*", "resetkeys")
    status, body = director.get("/dead_letters/sink")
    assert (status, body["error"]["code"]) == (502, "redis_unavailable")
