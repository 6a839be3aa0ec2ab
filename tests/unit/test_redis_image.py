"""How Redis' image starts it: with the playbook's users, those that the director made, and `default` as is right."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from redis_with_users import BEFORE, DIRECTOR, Client, RedisWithUsers, free_port, users_of_the_playbook  # noqa: E402

from director.redis.users import anonymous_rules  # noqa: E402

Start = Callable[[], RedisWithUsers]


class Host:
    """Folders as the container has them: `etc` is mounted by the playbook, `data` is Redis' volume."""

    def __init__(self, folder: Path) -> None:
        self.etc, self.data = folder / "etc", folder / "data"
        self.etc.mkdir()
        self.data.mkdir()
        self.give(DIRECTOR)
        self.redis = RedisWithUsers(self.data, free_port())
        self.redis.users.unlink()

    def give(self, password: str) -> None:
        """Lay the playbook's users down, with this password of the director."""
        (self.etc / "users.acl").write_text(users_of_the_playbook("rockstat", password))

    def prepare(self) -> None:
        """Run the image's script up to the server."""
        script = (ROOT / "band_images/redis/redis-start").read_text()
        script = script.replace("/etc/redis", str(self.etc)).replace("/data", str(self.data))
        assert script.endswith(f"exec redis-server {self.etc}/redis.conf\n")
        script = script.rpartition("exec ")[0]
        subprocess.run(["/bin/sh", "-c", script], check=True)

    def start(self) -> RedisWithUsers:
        """Start a Redis with the users that the script left."""
        self.redis.stop()
        self.prepare()
        self.redis.start()
        return self.redis


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host on which Redis never ran."""
    found = Host(tmp_path)
    yield found
    found.redis.stop()


def signs_in(redis: RedisWithUsers, user: str, password: str) -> bool:
    with Client(redis.port) as client:
        return bool(client("AUTH", user, password) == b"OK")


def test_a_new_host_has_the_playbooks_users_and_nobody_else(host: Host) -> None:
    """`default` is off from the beginning."""
    redis = host.start()
    assert signs_in(redis, "director", DIRECTOR)
    assert not signs_in(redis, "default", BEFORE)
    with redis.admin() as admin:
        assert sorted(admin("ACL", "USERS")) == [b"admin", b"default", b"director"]


def transaction_outlives_a_restart(host: Host) -> bool:
    with host.redis.admin() as admin:
        admin("DEL", "kept")
        for command in (("MULTI",), ("SET", "kept", "1"), ("SET", "kept2", "1"), ("EXEC",)):
            admin(*command)
        assert admin("GET", "kept") == b"1"
        assert admin("WAITAOF", "1", "0", "10000")[0] == 1  # it is killed: on a busy disk writing may be put off
    host.start()
    with host.redis.admin() as admin:
        return bool(admin("GET", "kept") == b"1")


def test_transactions_outlive_a_restart(host: Host) -> None:
    """Redis loads its file as `default` and leaves out each transaction in it that this user may not do."""
    host.start()
    assert transaction_outlives_a_restart(host)
    with host.redis.admin() as admin:  # as a director turned it off in between
        admin("ACL", "SETUSER", "default", "reset")
        admin("ACL", "SAVE")
    host.start()
    assert transaction_outlives_a_restart(host)
    assert not signs_in(host.redis, "default", BEFORE)
    with Client(host.redis.port) as client:
        assert "NOAUTH" in str(client("PING"))


def test_default_without_a_password_costs_no_transaction(host: Host) -> None:
    """What BAND_REDIS_ANONYMOUS allows is not enough to load the file; the director turns it on again afterwards."""
    host.start()
    with host.redis.admin() as admin:
        admin("ACL", "SETUSER", "default", "on", "nopass", "resetkeys", "nocommands", *anonymous_rules())
        assert admin("ACL", "SAVE") == b"OK"
    assert transaction_outlives_a_restart(host)
    with Client(host.redis.port) as client:
        assert "NOAUTH" in str(client("PING"))
    assert signs_in(host.redis, "director", DIRECTOR)


def test_users_of_the_director_and_of_the_operator_stay(host: Host) -> None:
    """What Redis wrote down is there after the next start; the playbook's users are those of the playbook again."""
    redis = host.start()
    with redis.admin() as admin:
        admin("ACL", "SETUSER", "front.0a1b2c3d", "on", ">canary-front", "~events", "+xadd")
        admin("ACL", "SETUSER", "grafana", "on", ">canary-grafana", "+info")
        admin("ACL", "SETUSER", "director", "+@all", "~*")
        assert admin("ACL", "SAVE") == b"OK"
    host.give("another-password-of-it")
    redis = host.start()
    assert signs_in(redis, "front.0a1b2c3d", "canary-front") and signs_in(redis, "grafana", "canary-grafana")
    assert signs_in(redis, "director", "another-password-of-it") and not signs_in(redis, "director", DIRECTOR)
    with redis.admin() as admin:
        assert b"no permissions" in admin("ACL", "DRYRUN", "director", "FLUSHALL").lower()


def test_services_of_a_release_with_one_password_go_on(host: Host) -> None:
    """Where there is data and no file of users, `default` has the password of before until the director ends it."""
    (host.data / "appendonlydir").mkdir()
    redis = host.start()
    with Client(redis.port, "default", BEFORE) as client:
        assert client("XADD", "events", "*", "event", "x")
        assert "NOPERM" in str(client("CONFIG", "GET", "dir"))
    with redis.admin() as admin:
        admin("ACL", "SETUSER", "default", "reset")
        admin("ACL", "SAVE")
    assert not signs_in(host.start(), "default", BEFORE)


def test_the_password_that_all_had_is_not_the_directors(host: Host) -> None:
    """Whoever noted it while it was everybody's does not become the director with it."""
    (host.data / "appendonlydir").mkdir()
    redis = host.start()
    assert not signs_in(redis, "director", BEFORE) and not signs_in(redis, "default", DIRECTOR)


def test_a_file_without_a_default_user_does_not_open_redis(host: Host) -> None:
    """Redis itself would let everybody in as `default` whom its file does not name."""
    (host.data / "users.acl").write_text("user front.0a1b2c3d on >canary ~events +xadd\n")
    redis = host.start()
    with Client(redis.port) as client:
        assert "NOAUTH" in str(client("PING"))


def test_without_the_playbooks_users_it_starts_as_its_configuration_says(host: Host) -> None:
    """The image is good for a plain `docker run` too: nothing is written then."""
    (host.etc / "users.acl").unlink()
    host.prepare()
    assert not host.redis.users.exists()


def test_what_is_slow_leaves_no_address_behind(host: Host) -> None:
    """Redis would keep the beginning of slow commands: requests to enrichers, with visitors' addresses, too."""
    lines = (ROOT / "roles/redis/templates/redis.conf.j2").read_text().splitlines()
    settings = [line.split() for line in lines if line.startswith("slowlog-")]
    host.start()
    with host.redis.admin() as admin:
        for setting in settings:
            assert admin("CONFIG", "SET", *setting) == b"OK"
        admin("EVAL", "for i = 1, 2000000 do redis.sha1hex('81.2.69.199') end", "0")
        assert admin("SLOWLOG", "LEN") == 0
