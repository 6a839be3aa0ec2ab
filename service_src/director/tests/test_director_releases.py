"""What is remembered of releases, and which images stay for them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from band.redis import RedisLink
from director.api.handlers.releases import release_row
from director.errors import RedisUnavailable
from director.state import history
from director.state.desired import DesiredService, Spec
from director.state.history import History, Release, Releases

SECRET = "canary-service-secret"


def wanted(tag: str, **env: str) -> DesiredService:
    return DesiredService(
        spec=Spec(name="one", image=f"ns/one:{tag}", network="net", env=env, platform="now"), title="One"
    )


def lived(*tags: str) -> History:
    """Return the history of runs one after another, each an hour after the one before."""
    found: History = ()
    for number, tag in enumerate(tags):
        found = history.deployed(found, wanted(tag), "run", 3600.0 * number, 60.0)
    return found


def told(found: History) -> list[tuple[str, str]]:
    return [(item.id, item.state) for item in found]


def back(found: History, to: str | None = None) -> History:
    target = history.previous(found) if to is None else history.find(found, to)
    assert target is not None
    return history.rolled_back(found, target, "rollback", "by request", 90_000.0, 60.0)


def test_runs_stand_newest_first_and_only_the_last_is_current() -> None:
    """What served before is good; the id is the beginning of the image's tag."""
    found = lived("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb")
    assert told(found) == [("bbbbbbbbbbbb", "current"), ("aaaaaaaaaaaa", "good")]
    assert found[0].at > found[1].at


def test_going_back_twice_goes_back_two_releases() -> None:
    """A rollback moves the mark and leaves the order; from the oldest there is no way back."""
    once = back(lived("a", "b", "c"))
    assert told(once) == [("c", "rolled_back"), ("b", "current"), ("a", "good")]
    twice = back(once)
    assert told(twice) == [("c", "rolled_back"), ("b", "rolled_back"), ("a", "current")]
    assert history.previous(twice) is None
    assert twice[0].reason == "by request"


def test_a_run_after_a_rollback_stands_on_top_once() -> None:
    """What was rolled back and is run again is current, on top, on trial, and not there twice."""
    found = history.deployed(back(lived("a", "b")), wanted("b"), "run", 99_000.0, 60.0)
    assert told(found) == [("b", "current"), ("a", "good")]
    assert found[0].watch_until == 99_060.0


@pytest.mark.parametrize(
    ("before", "tag", "watch", "until"),
    [
        (lived("a"), "b", 60.0, 99_060.0),
        ((), "a", 60.0, 0.0),  # nothing to go back to
        (lived("a"), "b", 0.0, 0.0),  # switched off
        (lived("z", "a"), "a", 60.0, 0.0),  # a fresh container of what has proved itself
    ],
)
def test_a_switch_is_watched_when_there_is_something_to_go_back_to(
    before: History, tag: str, watch: float, until: float
) -> None:
    """Another release than before is on trial; the first one, and a fresh container of the same, are not."""
    assert (
        history.deployed(history.proven(before, 98_000.0), wanted(tag), "run", 99_000.0, watch)[0].watch_until == until
    )


def test_an_earlier_release_that_was_good_is_not_watched_and_one_that_was_left_is() -> None:
    """Going back to a good release is no experiment; going to one that was rolled back is."""
    found = back(lived("a", "b"))
    assert history.current(found) == found[1]
    assert found[1].watch_until == 0
    again = back(found, "b")
    assert (again[0].state, again[0].watch_until) == ("current", 90_060.0)


def test_failures_are_remembered_and_never_take_the_place_of_what_served() -> None:
    """A failure of something new stands on top, with reason and exit code; of something good it changes nothing."""
    found = history.failed(lived("a"), wanted("b"), "run", "no luck", 3, 99_000.0)
    assert told(found) == [("b", "failed"), ("a", "current")]
    assert (found[0].reason, found[0].exit_code) == ("no luck", 3)
    assert history.failed(found, wanted("a"), "run", "no luck", 3, 99_000.0) == found
    assert history.previous(history.deployed(found, wanted("c"), "run", 99_500.0, 0)) == found[1].__class__(
        spec=found[1].spec, title="One", at=0.0, state="good", since=0.0
    )


def test_images_of_the_last_releases_that_served_are_kept() -> None:
    """Failed ones do not count, several releases of one image are one, and the current one stays wherever it stands."""
    found = history.failed(lived("a", "b", "c", "d"), wanted("x"), "run", "no", 1, 99_000.0)
    assert history.kept_images(found, 2) == {"ns/one:d", "ns/one:c"}
    assert history.kept_images(back(found, "a"), 2) == {"ns/one:d", "ns/one:c", "ns/one:a"}
    assert told(history.trimmed(found, 2)) == [("x", "failed"), ("d", "current"), ("c", "good")]
    env_only = history.deployed(lived("a", "b"), wanted("b", TZ="UTC"), "run", 99_000.0, 0)
    assert history.kept_images(env_only, 2) == {"ns/one:a", "ns/one:b"}


def test_releases_of_one_image_are_told_apart_by_their_env() -> None:
    """An id means the newest that is not current; the spec hash names one exactly."""
    found = history.deployed(lived("a"), wanted("a", TZ="UTC"), "run", 99_000.0, 0)
    assert told(found) == [("a", "current"), ("a", "good")]
    assert history.find(found, "a") == found[1]
    assert history.find(found, found[0].spec.hash()) == found[0]
    assert history.find(found, "nothing") is None


def test_a_rollback_by_id_finds_what_served() -> None:
    """Of releases with one id the newest good or left one is meant, not one that never came up."""
    found = history.deployed(lived("a"), wanted("b"), "run", 99_000.0, 0)
    found = history.failed(found, wanted("a", TZ="nowhere"), "run", "no luck", 3, 99_100.0)
    assert told(found) == [("a", "failed"), ("b", "current"), ("a", "good")]
    assert history.find(found, "a") == found[2]
    assert history.find(found, found[0].spec.hash()) == found[0]


def test_one_that_served_stays_what_it_was_when_it_fails_to_come_up_again() -> None:
    """It was rolled back, and that is what keeps it from coming back by itself; its image stays."""
    found = back(lived("a", "b"))
    assert history.failed(found, wanted("b"), "run", "no luck", 3, 99_000.0) == found


def test_releases_of_one_image_have_an_end() -> None:
    """Each other env makes one: the last ten of an image are remembered, and whichever serves."""
    found = lived("z", "a")
    for number in range(30):
        found = history.deployed(found, wanted("a", N=str(number)), "run", 99_000.0 + number, 0)
    kept = history.trimmed(found, 5)
    assert [item.spec.env.get("N") for item in kept[:-1]] == [str(29 - number) for number in range(10)]
    assert told(kept)[-1] == ("z", "good")
    oldest = history.rolled_back(found, found[-2], "rollback", "by request", 100_000.0, 0)
    assert history.current(history.trimmed(oldest, 5)) is not None


def test_what_the_director_gives_every_service_makes_no_new_release() -> None:
    """A new password of Redis changes each container, and no release."""
    other = msgspec.structs.replace(wanted("a"), spec=msgspec.structs.replace(wanted("a").spec, platform="later"))
    assert told(history.deployed(lived("a"), other, "restart", 99_000.0, 60.0)) == [("a", "current")]


def test_what_was_rolled_back_is_held_until_it_changes() -> None:
    """The same contents and env are held, others are not."""
    found = back(lived("a", "b"))
    assert history.is_held(found, wanted("b").spec) == found[0]
    assert history.is_held(found, wanted("b", TZ="UTC").spec) is None
    assert history.is_held(found, wanted("c").spec) is None
    assert history.is_held(lived("a", "b"), wanted("a").spec) is None


def test_a_release_is_shown_without_its_secrets() -> None:
    """Env values that are secret by name or by band.yml are masked."""
    spec = msgspec.structs.replace(wanted("a", API_TOKEN=SECRET, DSN=SECRET, TZ="UTC").spec, secrets=("DSN",))
    row = release_row(Release(spec=spec, at=1.0), ["ns/one:a"])
    assert SECRET not in str(row)
    assert (row.env["TZ"], row.images_present) == ("UTC", True)


async def test_histories_survive_in_redis(store: RedisLink) -> None:
    """What one director wrote the next one reads, env included; a broken history does no harm."""
    first = Releases(store, "ns", keep=2)
    with pytest.raises(RedisUnavailable):
        await first.put("one", lived("a"))
    await first.load()
    await first.put("one", history.deployed(lived("a", "b", "c"), wanted("c", TOKEN=SECRET), "run", 1.0, 0))
    await store.command("HSET", "ns:director:releases", "bad", b"[{]")
    await store.command("HSET", "ns:director:releases", "two", msgspec.json.encode(lived("a")))  # it is of one
    second = Releases(store, "ns", keep=2)
    await second.load()
    assert told(second.of("one")) == [("c", "current"), ("c", "good"), ("b", "good")]
    assert second.of("one")[0].spec.env == {"TOKEN": SECRET}
    assert (second.of("bad"), second.of("two")) == ((), ())
    assert second.kept_images() == {"ns/one:c", "ns/one:b"}
    await second.forget("one")
    await first.load()
    assert first.all() == {}


async def test_what_runs_without_a_history_gets_one(store: RedisLink) -> None:
    """A service that is older than histories, or whose history Redis lost, has a current release again."""
    found = Releases(store, "ns")
    await found.load()
    assert found.lacks(wanted("a"))
    await found.adopt(wanted("a"))
    assert [(item.id, item.state, item.by) for item in found.of("one")] == [("a", "current", "adopted")]
    assert not found.lacks(wanted("a"))
    removed: Any = msgspec.structs.replace(wanted("b"), state="removed")
    assert not found.lacks(removed)
