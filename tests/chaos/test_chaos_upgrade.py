"""An upgrade of a platform that has much to lose: events in front's journal, unread, held, and dead letters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chaos_before
import pytest
import redis
from chaos_judge import doubled
from chaos_stage import DIRECTOR, FRONT, NAME, REDIS, RedisDisk, Release, Stage, ask, docker, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

GIVEN = {"UPGRADE_GIVEN": "with the run"}
STORED = {"env.UPGRADE_STORED": "for the next run", "limits.memory": "300m", "pos": "4x2"}
SENDER = {
    "MIXPANEL_PROJECTS": '{"17": "canary-seventeen"}', "PATIENCE": "5", "REFUSED_RETRY": "2", "BACKOFF_FIRST": "0.3",
    "JITTER_LEAST": "0", "JITTER_MOST": "0.2",
}  # fmt: skip


class Platform:
    """The stage, and what is sent and seen there."""

    def __init__(self, stage: Stage, client: redis.Redis) -> None:
        self.stage = stage
        self.redis = client

    def send(self, count: int, **more: Any) -> set[str]:
        """Send events that must all be accepted; their ids."""
        body = {"uid": "1000000001", **more}
        return {ask(f"{FRONT}/track/upgrade.json", {**body, "number": number})["id"] for number in range(count)}

    def left(self) -> tuple[int, int, int]:
        """Events that the sender was given and has not taken, those that it holds, and dead letters."""
        pending = self.redis.xpending("events", "send_mixpanel")["pending"]
        return pending, self.redis.xlen("held:send_mixpanel:17"), self.redis.xlen("dead:send_mixpanel")

    def missing(self, ids: set[str]) -> set[str]:
        """Those of the events that the double has not counted."""
        return ids - set(self.stage.arrived())

    def image_of(self, name: str) -> str:
        return docker("inspect", "-f", "{{.Config.Image}}", self.stage.container(name))

    def wait_for(self, ids: set[str]) -> None:
        """Return when the double has counted all of them."""
        try:
            until(lambda: not self.missing(ids), 60, "all events at the double")
        except AssertionError as error:
            raise AssertionError(f"{error}; missing {self.missing(ids)} of {ids}\n{self.stage.said()}") from None

    def journal(self) -> str:
        """The segments on front's volume, whether front lives or not."""
        others = [word for name in ("lock", "ids-*", "projects-*") for word in ("!", "-name", name)]
        look = ["find", "/data/journal", "-type", "f", *others]
        return docker("run", "--rm", "-v", f"{NAME}-front-data:/data", self.stage.release.base, *look)


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """The platform of the release before; the double and Redis' disk are outside of what is replaced."""
    if not chaos_before.is_known():
        pytest.skip(f"{chaos_before.BEFORE} is not in this clone: git fetch --unshallow")
    stage = Stage(tmp_path, more={"send_mixpanel": SENDER, "uaparser": GIVEN}, double_outside=True)
    (tmp_path / "before").mkdir()
    stage.release = chaos_before.make(tmp_path / "before")
    stage.redis_disk = RedisDisk(tmp_path / "redis-disk")
    try:
        stage.up()
        with redis.Redis.from_url(REDIS) as client:
            yield Platform(stage, client)
    finally:
        stage.down()


def test_an_upgrade_loses_nothing(platform: Platform) -> None:
    """Every accepted event counts once, in whatever state it was; services, env and config are as they were."""
    stage = platform.stage
    refused = _some_die(platform)
    others = _some_are_held(platform) | _some_wait(platform)
    config = ask(f"{DIRECTOR}/update_config/uaparser", STORED)
    old_image = platform.image_of("front")
    others |= _front_is_killed_with_a_journal(platform)

    stage.release = Release()
    stage.start_core()
    until(lambda: ask(f"{FRONT}/_band/health")["status"] == "ok", 90, "front, which the director has to remember")
    assert platform.image_of("front") != old_image
    running = {row["name"] for row in ask(f"{DIRECTOR}/list") if row["state"] == "running"}
    assert running & set(stage.services) == {"front", "uaparser"}, "send_mixpanel was stopped"
    assert ask(f"{DIRECTOR}/get_config/uaparser") == config
    for name in stage.services:
        assert ask(f"{DIRECTOR}/run/{name}", {})["state"] == "running"
    _has_its_settings(stage.container("uaparser"))

    stage.heal_double()
    platform.wait_for(others)
    assert platform.missing(refused) == refused
    ask(f"{DIRECTOR}/replay_dead_letters/send_mixpanel")
    platform.wait_for(refused)
    until(lambda: platform.left() == (0, 0, 0), 20, "nothing left in Redis")
    until(lambda: not platform.journal(), 20, "nothing left in the journal")
    assert doubled(stage.arrived()) == 0


def _has_its_settings(container: str) -> None:
    """What came with a run and what was stored for the next one."""
    env, memory = docker("inspect", "-f", "{{json .Config.Env}}|{{.HostConfig.Memory}}", container).split("|")
    assert {"UPGRADE_GIVEN=with the run", "UPGRADE_STORED=for the next run"} <= set(json.loads(env))
    assert int(memory) == 300 * 2**20


def _some_die(platform: Platform) -> set[str]:
    platform.stage.order(refuse=2000)
    refused = platform.send(5)
    until(lambda: platform.left() == (0, 0, len(platform.missing(refused))) > (0, 0, 0), 30, "dead letters")
    return platform.missing(refused)


def _some_are_held(platform: Platform) -> set[str]:
    platform.stage.close_double("canary-chaos-token")
    held = platform.send(5, projectId=17)
    until(lambda: platform.left()[:2] == (0, 5), 30, "held events")
    return held


def _some_wait(platform: Platform) -> set[str]:
    """Five that the sender was given and could not deliver, and five that it never saw: it is stopped."""
    platform.stage.order(hang=60, times=100)
    given = platform.send(5)
    until(lambda: platform.left()[0] == 5, 20, "events that were read")
    ask(f"{DIRECTOR}/stop/send_mixpanel")
    assert platform.left()[:2] == (5, 5)
    return given | platform.send(5)


def _front_is_killed_with_a_journal(platform: Platform) -> set[str]:
    """Redis and the director are gone then. Its image goes too, or the old front would replay its journal itself."""
    docker("rm", "-f", f"{NAME}-band")
    platform.stage.stop_redis()
    journaled = platform.send(10)
    image = platform.image_of("front")
    docker("rm", "-f", platform.stage.container("front"), f"{NAME}-redis")
    docker("rmi", image)
    assert platform.journal(), "the events are there and nowhere else"
    return journaled
