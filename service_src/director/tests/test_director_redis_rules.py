"""What each Redis user may do and may not, asked of a real Redis with the rules that it gets."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_with_users import Client, RedisWithUsers, free_port

from director.redis.users import (
    NO_EVENTS,
    READ_EVENTS,
    all_keys_but,
    anonymous_rules,
    is_platform_key,
    rules_of,
)

NAMESPACE = "rock-stat"  # a dash has a meaning of its own within brackets
DESIRED = f"{NAMESPACE}:director:desired"
SERVICES = {"front": (), "uaparser": (), "tenant": ("shared:*", "one"), "original": ("*",)}
EVERYONE = ("director", *SERVICES)
PASSWORD = "canary-service-password"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisWithUsers]:
    """A Redis with the users of the playbook and of some services."""
    found = RedisWithUsers(tmp_path_factory.mktemp("redis"), free_port(), NAMESPACE)
    found.start()
    with found.admin() as admin:
        for name, keys in SERVICES.items():
            answer = admin("ACL", "SETUSER", name, "reset", "on", f">{PASSWORD}", *rules_of(name, keys, NAMESPACE))
            assert answer == b"OK", answer
    yield found
    found.stop()


def may(redis: RedisWithUsers, user: str, command: str) -> bool:
    """Ask Redis whether a user may run a command; nothing is run."""
    with redis.admin() as admin:
        answer = admin("ACL", "DRYRUN", user, *command.split())
    assert isinstance(answer, bytes), f"{command}: {answer}"
    return answer == b"OK"


@pytest.mark.parametrize("user", EVERYONE)
@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "CONFIG GET requirepass", "CONFIG SET maxmemory 1", "CONFIG REWRITE",
        "MONITOR", "KEYS *", "DEBUG SLEEP 1", "SHUTDOWN NOSAVE", "REPLICAOF 127.0.0.1 1", "BGREWRITEAOF", "SAVE",
        "CLIENT KILL TYPE normal", "CLIENT LIST", "CLIENT PAUSE 1000", "MODULE LIST", "SLOWLOG GET", "LATENCY DOCTOR",
        "FUNCTION FLUSH", "FUNCTION LOAD x", "SCRIPT FLUSH", "MIGRATE h 1 k 0 1", "SORT events", "ROLE",
        "ACL LOG", "ACL LOAD", "ACL GETUSER director", "RESTORE own 0 x",
    ],
)  # fmt: skip
def test_nobody_is_an_administrator(redis: RedisWithUsers, user: str, command: str) -> None:
    """No user of the platform can flush, configure, watch or stop Redis; the director may not either."""
    assert not may(redis, user, command)


@pytest.mark.parametrize("command", ["ACL SETUSER x on", "ACL DELUSER x", "ACL LIST", "ACL SAVE"])
def test_the_director_alone_makes_users(redis: RedisWithUsers, command: str) -> None:
    """It gives each service its user; no service can."""
    assert [user for user in EVERYONE if may(redis, user, command)] == ["director"]


def test_the_director_alone_ends_scripts(redis: RedisWithUsers) -> None:
    """And it may run none."""
    assert [user for user in EVERYONE if may(redis, user, "SCRIPT KILL")] == ["director"]
    assert not may(redis, "director", "EVAL return 0")


READS = {
    "the director's desired state": (f"HGETALL {DESIRED}", {"director"}),
    "the director's configs": (f"HGET {NAMESPACE}:director:configs front", {"director"}),
    "the registrations": ("GET front:registrations", {"director", "front"}),
    "the projects": ("HGETALL front:projects", {"director", "front"}),
    "events": ("XRANGE events - +", {"director", *SERVICES}),
    "a service's dead letters": ("XRANGE dead:uaparser - + COUNT 1", {"director", "uaparser"}),
    "what a group took": ("XRANGE events:taken:uaparser - +", {"director", "uaparser"}),
    "who is there": ("ZRANGEBYSCORE band:instances:front 0 1", {"director", *SERVICES}),
    "what is kept of a visitor": ("HGETALL s:1234567890", set(SERVICES)),
    "a service's own keys": ("GET uaparser:cache", {"uaparser", "original"}),
    "what is held back": ("XRANGE held:uaparser:eu - +", {"uaparser"}),
    "keys of nobody": ("GET anything", {"original"}),
    "keys that a band.yml names": ("GET shared:x", {"tenant", "original"}),
    "the one key that a band.yml names": ("GET one", {"tenant", "original"}),
    "a key that begins like it": ("GET ones", {"original"}),
    "front's journal": ("GET front:journal:abc", {"front"}),
    "Redis' figures": ("INFO memory", {"director", "front"}),
}
WRITES = {
    "the director's desired state": (f"HSET {DESIRED} x y", {"director"}),
    "the director's configs": (f"DEL {NAMESPACE}:director:configs", {"director"}),
    "the registrations": ("SET front:registrations x", {"director"}),
    "the registrations, gone": ("DEL front:registrations", {"director"}),
    "a project": ("HSET front:projects shop x", {"director"}),
    "a project, gone": ("HDEL front:projects shop", {"director"}),
    "an event": ("XADD events * event x", {"front"}),
    "an event less": ("XDEL events 1-1", {"front"}),
    "fewer events": ("XTRIM events MAXLEN 0", {"front"}),
    "no events": ("DEL events", {"front"}),
    "events under another name": ("RENAME events own", set()),
    "another position of a group": ("XGROUP SETID events other 0", {"front"}),
    "a group less": ("XGROUP DESTROY events other", {"front"}),
    "its own group": ("XGROUP CREATE events uaparser $ MKSTREAM", set(SERVICES)),
    # To Redis this one is reading.
    "its share of the events": ("XREADGROUP GROUP g c COUNT 1 STREAMS events >", {"director", *SERVICES}),
    "what it is done with": ("XACK events g 1-1", set(SERVICES)),
    "what one of its groups took": ("XADD events:taken:uaparser.crm * ids 1-1", {"uaparser"}),
    "a dead letter": ("XADD dead:uaparser * event x", {"uaparser"}),
    "a lock of its dead letters": ("SET dead:uaparser:replay x NX PX 1", {"uaparser"}),
    "a grant of the director's": (f"SET {NAMESPACE}:director:grants:uaparser:1 x EX 10", {"director", "uaparser"}),
    "a grant that served": (f"GETDEL {NAMESPACE}:director:grants:uaparser:1", {"director", "uaparser"}),
    "a presence": ("ZADD band:instances:uaparser 1 x", {"uaparser"}),
    "front's presence": ("ZADD band:instances:front 1 x", {"front"}),
    "what is kept of a visitor": ("HSET s:1234567890 a b", set(SERVICES)),
    "how long it is kept": ("EXPIRE s:1234567890 60", set(SERVICES)),
    "something else of a visitor": ("SET s:1234567890 x", set(SERVICES) - {"front"}),
    "a visitor, gone": ("DEL s:1234567890", set(SERVICES) - {"front"}),
    "a place in front's journal": ("SET front:journal:abc 1", {"front"}),
    "everything under a name like the platform's": (f"SET {NAMESPACE} 1", set()),
}  # fmt: skip


@pytest.mark.parametrize("what", READS)
def test_who_reads_what(redis: RedisWithUsers, what: str) -> None:
    """Each user reads what its role needs, and nobody else does."""
    command, users = READS[what]
    assert {user for user in EVERYONE if may(redis, user, command)} == users


@pytest.mark.parametrize("what", WRITES)
def test_who_writes_what(redis: RedisWithUsers, what: str) -> None:
    """Each user writes what its role needs, and nobody else does."""
    command, users = WRITES[what]
    assert {user for user in EVERYONE if may(redis, user, command)} == users


@pytest.mark.parametrize("user", SERVICES)
def test_a_script_reaches_no_further_than_its_user(redis: RedisWithUsers, user: str) -> None:
    """Lua runs with the rights of who sent it, whatever keys it declares."""
    with Client(redis.port, user, PASSWORD) as client:
        for call in (f"'HGETALL', '{DESIRED}'", "'FLUSHALL'", "'SET', 'front:registrations', 'x'", "'KEYS', '*'"):
            answer = client("EVAL", f"return redis.call({call})", 0)
            assert isinstance(answer, Exception), f"{user}: {call}"
        assert client("EVAL", "return 1", 0) == 1


@pytest.fixture(scope="module")
def anonymous(redis: RedisWithUsers) -> RedisWithUsers:
    """A user with the rules of `default` where services without a password may sign in."""
    with redis.admin() as admin:
        assert admin("ACL", "SETUSER", "anonymous", "reset", "on", "nopass", *anonymous_rules()) == b"OK"
    return redis


@pytest.mark.parametrize(
    "command",
    [
        "PING", "SELECT 0", "CLIENT SETNAME redis-fast-driver[host:PID-1]", "SUBSCRIBE kafkastream broadcast",
        "SUBSCRIBE enrich uap_1", "UNSUBSCRIBE enrich", "PUBLISH director x", "PUBLISH front#0a1b2c3d x",
        "PUBLISH bandits x", "PUBLISH b x", "HGETALL s:1234567890", "HMSET s:1234567890 a 1", "EXPIRE s:1234567890 60",
        "GET s:1234567890", "SET s:1234567890 x",
    ],
)  # fmt: skip
def test_what_services_without_a_password_may_do(anonymous: RedisWithUsers, command: str) -> None:
    """What redis-fast-driver and the original's services send."""
    assert may(anonymous, "anonymous", command)


@pytest.mark.parametrize(
    "command",
    [
        "PUBLISH band:presence front", "SUBSCRIBE band:presence", "PSUBSCRIBE *", "PUBSUB CHANNELS",
        "XREAD STREAMS events 0", "XRANGE events - +", "XADD events * a b", "GET front:registrations",
        "HGETALL front:projects", f"HGETALL {DESIRED}", "GET s",
        "GET anything", "SET anything x", "DEL s:1234567890", "KEYS *", "SCAN 0", "FLUSHALL", "CONFIG GET dir", "INFO",
        "MONITOR", "ACL LIST", "ACL WHOAMI", "EVAL return 0", "CLIENT LIST", "CLIENT KILL TYPE normal",
        "CLIENT NO-EVICT on", "CLIENT TRACKING on", "DEBUG SLEEP 1", "SHUTDOWN NOSAVE", "MIGRATE h 1 k 0 1",
    ],
)  # fmt: skip
def test_what_services_without_a_password_may_not_do(anonymous: RedisWithUsers, command: str) -> None:
    """Neither a key of the platform nor another's, no command that looks around, and no channel that is ours alone."""
    assert not may(anonymous, "anonymous", command)


def test_redis_does_not_keep_consumer_groups_apart(redis: RedisWithUsers) -> None:
    """A limit of Redis that docs/threat-model.md tells of: a listener reaches the groups of others, not the stream."""
    reached = ("XGROUP CREATE events blocker 0", "XGROUP DELCONSUMER events other one", "XACK events other 1-1")
    read = "XREADGROUP GROUP other one NOACK STREAMS events >"
    assert all(may(redis, "uaparser", command) for command in (*reached, read))
    barred = ("XGROUP DESTROY events other", "XGROUP SETID events other $", "XADD events * a b", "XDEL events 1-1")
    assert not any(may(redis, "uaparser", command) for command in barred)


@pytest.mark.parametrize(("word", "reads"), [(NO_EVENTS, False), (READ_EVENTS, True)])
def test_a_service_that_does_not_listen_reaches_no_group(redis: RedisWithUsers, word: str, reads: bool) -> None:
    """`redis_events: none` keeps it from the stream, `read` from the groups; its own keys stay its own."""
    with redis.admin() as admin:
        rules = rules_of("quiet", (word, "shared:*"), NAMESPACE)
        assert admin("ACL", "SETUSER", "quiet", "reset", "on", f">{PASSWORD}", *rules) == b"OK"
    reading = ("XRANGE events - +", "XREAD STREAMS events 0", "XLEN events")
    assert [may(redis, "quiet", command) for command in reading] == [reads] * 3
    groups = (
        "XGROUP CREATE events blocker 0", "XGROUP DELCONSUMER events other one", "XACK events other 1-1",
        "XREADGROUP GROUP other one NOACK STREAMS events >", "XAUTOCLAIM events other one 0 0", "XADD events * a b",
    )  # fmt: skip
    assert not any(may(redis, "quiet", command) for command in groups)
    assert may(redis, "quiet", "SET quiet:x 1") and may(redis, "quiet", "SET shared:x 1")
    assert not may(redis, "quiet", f"GET {word}")


def test_nobody_comes_in_without_a_name(redis: RedisWithUsers) -> None:
    """The default user is off: neither without a password nor with the director's does a nameless client get in."""
    with Client(redis.port) as client:
        assert "NOAUTH" in str(client("PING"))
        assert "WRONGPASS" in str(client("AUTH", "canary-director-password"))


def test_a_service_named_like_the_platforms_keys_gets_no_keys_of_the_platform() -> None:
    """The author of a folder chooses its name; called `dead`, its own keys would be everybody's dead letters."""
    for name in ("dead", "events", "band", "held", NAMESPACE):
        patterns = [rule.removeprefix("~") for rule in rules_of(name, (), NAMESPACE)]
        assert f"{name}:*" not in patterns
    assert "~deadline:*" in rules_of("deadline", (), NAMESPACE)


@pytest.mark.parametrize(
    ("pattern", "reaches"),
    [
        ("events", True), ("events:taken:x", True), ("e*", True), ("*", True), ("dead:*", True), ("deadline:*", False),
        ("eventful", False), ("rock-stat:director:x", True), ("rock*", True), ("rocket*", False), ("jar:*", False),
    ],
)  # fmt: skip
def test_a_pattern_that_may_mean_the_platforms_keys_is_known(pattern: str, reaches: bool) -> None:
    """Whether a key of band.yml is one that no service gets."""
    assert is_platform_key(pattern, NAMESPACE) is reaches


def test_all_keys_but_some_is_exact() -> None:
    """Every key of up to four letters is matched or not, as it should be."""
    words = ("ab", "abc", "c")
    patterns = [pattern.replace("[^", "[!") for pattern in all_keys_but(words)]
    letters = ["".join(made) for size in range(1, 5) for made in itertools.product("abc:", repeat=size)]
    for key in letters:
        ours = any(key == word or key.startswith(f"{word}:") for word in words)
        assert any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns) is not ours, key


def test_rules_are_of_one_line_in_the_file(tmp_path: Path) -> None:
    """A rule with a blank or a line end would be another rule in Redis' file of users."""
    for keys in SERVICES.values():
        plain = [rule for rule in rules_of("tenant", keys, NAMESPACE) if not rule.startswith("(")]
        assert not [rule for rule in plain if any(letter.isspace() for letter in rule)]
