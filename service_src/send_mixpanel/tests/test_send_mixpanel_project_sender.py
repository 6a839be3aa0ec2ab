"""Splitting, retrying, halving and sorting out, against a hand-made Mixpanel that answers from a script."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from band.typed_settings import Secret
from send_mixpanel.condition import sender_health
from send_mixpanel.mapping import Record
from send_mixpanel.options import ENGAGE, IMPORT, Options, Project
from send_mixpanel.project_sender import ProjectSender, split
from send_mixpanel.trouble import TroubleLog
from send_mixpanel.verdict import Failure, Meaning, Verdict

BEGAN, OVER = ("warning", "mixpanel_trouble"), ("info", "mixpanel_trouble_over")
Script = Callable[[Sequence[Record]], Verdict]
TAKEN = Verdict(Meaning.TAKEN, 200, "OK")


class ScriptedMixpanel:
    """Answers each request from `script`, then takes everything; remembers what it was sent and how many at once."""

    def __init__(self, *script: Verdict | Script) -> None:
        self.script = list(script)
        self.sent: list[list[str]] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0

    async def post(self, project: Project, records: Sequence[Record]) -> Verdict:
        self.sent.append([record.insert_id for record in records])
        self.times.append(time.monotonic())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.005)
        self.at_once -= 1
        answer = self.script.pop(0) if self.script else TAKEN
        return answer if isinstance(answer, Verdict) else answer(records)


def records(count: int, size: int = 10) -> list[Record]:
    return [Record(str(number), b"x" * size, {"id": str(number)}) for number in range(count)]


class Lines:
    """A log that keeps its lines: (level, event, facts)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def warning(self, event: str, **facts: Any) -> None:
        self.lines.append(("warning", event, facts))

    def info(self, event: str, **facts: Any) -> None:
        self.lines.append(("info", event, facts))

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(level, event) for level, event, _ in self.lines]


def sender(
    mixpanel: ScriptedMixpanel, log: Lines | None = None, endpoint: str = IMPORT, **changes: Any
) -> ProjectSender:
    quick: dict[str, Any] = {
        "backoff_first": 0.02,
        "backoff_most": 0.08,
        "jitter_least": 0,
        "jitter_most": 0,
        "refused_retry": 0.05,
    }
    project = Project("default", "https://example.com", Secret("Basic eA=="), "token")
    options = Options(project, **{**quick, **changes})
    return ProjectSender(project, mixpanel, options, log=log or Lines(), endpoint=endpoint)


def later(status: int) -> Verdict:
    return Verdict(Meaning.LATER, status, "slow down")


@pytest.mark.parametrize(
    ("most", "most_bytes", "sizes"), [(3, 1000, [3, 3, 1]), (100, 35, [3, 3, 1]), (100, 5, [1] * 7)]
)
def test_send_mixpanel_splits_by_count_and_bytes(most: int, most_bytes: int, sizes: list[int]) -> None:
    """Parts hold at most so many records and bytes as JSON, keep the order, and an oversized record is alone."""
    parts = list(split(records(7), most, most_bytes))
    assert [len(part) for part in parts] == sizes
    assert [record.insert_id for part in parts for record in part] == [str(number) for number in range(7)]
    assert all(sum(len(record.body) + 1 for record in part) + 1 <= most_bytes or len(part) == 1 for part in parts)


async def test_send_mixpanel_sends_several_at_once() -> None:
    """Up to `in_flight` requests are under way together, never more."""
    mixpanel = ScriptedMixpanel()
    assert await sender(mixpanel, batch_events=2, in_flight=3).deliver(records(20)) == []
    assert (len(mixpanel.sent), mixpanel.most_at_once) == (10, 3)


async def test_send_mixpanel_waits_longer_each_time() -> None:
    """429 and 5xx are tried again after pauses that double up to the limit; the same records are sent."""
    mixpanel = ScriptedMixpanel(later(429), later(503), later(502), later(0))
    assert await sender(mixpanel).deliver(records(3)) == []
    assert mixpanel.sent == [["0", "1", "2"]] * 5
    pauses = [after - before for before, after in zip(mixpanel.times, mixpanel.times[1:], strict=False)]
    for pause, least in zip(pauses, [0.02, 0.04, 0.08, 0.08], strict=True):
        assert least <= pause < least + 0.05


async def test_send_mixpanel_jitter_spreads_the_pauses() -> None:
    """The jitter is added to each pause."""
    mixpanel = ScriptedMixpanel(later(429))
    await sender(mixpanel, jitter_least=0.1, jitter_most=0.12).deliver(records(1))
    assert mixpanel.times[1] - mixpanel.times[0] >= 0.12


async def test_send_mixpanel_failing_together_is_one_failure() -> None:
    """Requests that fail at the same time lengthen the pause once, not once each."""
    mixpanel = ScriptedMixpanel(*[later(429)] * 4)
    begun = time.monotonic()
    await sender(mixpanel, batch_events=1, in_flight=4, backoff_most=5).deliver(records(4))
    assert time.monotonic() - begun < 0.15
    assert len(mixpanel.sent) == 8


async def test_send_mixpanel_halves_what_is_too_large() -> None:
    """413 halves a batch until it fits; a single record that is too large is refused for good with the reason."""

    def by_size(sent: Sequence[Record]) -> Verdict:
        too_large = len(sent) > 2 or any(record.insert_id == "5" for record in sent)
        return Verdict(Meaning.TOO_LARGE, 413, "exceeds max limit") if too_large else TAKEN

    mixpanel = ScriptedMixpanel(*[by_size] * 40)
    refused = await sender(mixpanel).deliver(records(8))
    assert [(one.record.insert_id, one.status, one.reason) for one in refused] == [("5", 413, "exceeds max limit")]
    assert {one for sent in mixpanel.sent for one in sent} == {str(number) for number in range(8)}
    assert len(mixpanel.sent) == 9  # 8, 4 4, 2 2 2 2, and 1 1 for the pair with the large one


async def test_send_mixpanel_sorts_out_by_index() -> None:
    """400 with failed records: those are refused with Mixpanel's words, the others are not sent again."""
    failures = (Failure(1, "properties.time", "too old"),)
    mixpanel = ScriptedMixpanel(Verdict(Meaning.SOME_FAILED, 400, "", failures, imported=2))
    one_lane = sender(mixpanel)
    refused = await one_lane.deliver(records(3))
    assert [(one.record.insert_id, one.field, one.reason) for one in refused] == [("1", "properties.time", "too old")]
    assert len(mixpanel.sent) == 1
    assert (one_lane.state.taken, one_lane.state.refused) == (2, 1)


async def test_send_mixpanel_sends_the_good_again_if_they_were_not_kept() -> None:
    """When Mixpanel says that it imported fewer than the good ones, these are sent again: they count once anyway."""
    failures = (Failure(0, "event", "empty"),)
    mixpanel = ScriptedMixpanel(Verdict(Meaning.SOME_FAILED, 400, "", failures, imported=0))
    refused = await sender(mixpanel).deliver(records(3))
    assert mixpanel.sent == [["0", "1", "2"], ["1", "2"]]
    assert len(refused) == 1


async def test_send_mixpanel_finds_the_bad_one_by_halving() -> None:
    """400 that names no record: halves are tried, so that only the bad one is refused."""

    def picky(sent: Sequence[Record]) -> Verdict:
        bad = any(record.insert_id == "6" for record in sent)
        return Verdict(Meaning.ALL_IN_DOUBT, 400, "cannot parse") if bad else TAKEN

    mixpanel = ScriptedMixpanel(*[picky] * 40)
    refused = await sender(mixpanel).deliver(records(9))
    assert [one.record.insert_id for one in refused] == ["6"]


def in_doubt(_sent: Sequence[Record]) -> Verdict:
    return Verdict(Meaning.ALL_IN_DOUBT, 400, "no")


async def test_send_mixpanel_makes_no_dead_letters_of_a_wrong_setting() -> None:
    """Every request is refused without a word on records (a proxy, a wrong project id): they wait, all of them."""
    mixpanel = ScriptedMixpanel(*[in_doubt] * 12)
    log = Lines()
    one_lane = sender(mixpanel, log, refused_retry=0.05)
    job = asyncio.create_task(one_lane.deliver(records(8)))
    await asyncio.sleep(0.1)
    health = sender_health(one_lane)
    assert health["status"] == "failing"
    assert "refuses every request as a whole (400: no)" in health["reason"]
    assert await job == []
    assert {one for sent in mixpanel.sent[12:] for one in sent} == {str(number) for number in range(8)}
    assert one_lane.state.taken == 8
    assert sender_health(one_lane) == {"status": "ok"}
    assert log.events == [BEGAN, OVER]


async def test_send_mixpanel_notices_when_all_is_refused_from_some_moment_on() -> None:
    """It worked, then every request is refused as a whole: three records are given up, the others wait."""
    mixpanel = ScriptedMixpanel(TAKEN, *[in_doubt] * 40)
    one_lane = sender(mixpanel, refused_retry=0.01)
    await one_lane.deliver(records(1))
    refused = await one_lane.deliver(records(16))
    assert len(refused) == 3
    assert one_lane.state.taken == 1 + 13


async def test_send_mixpanel_several_bad_ones_in_a_row_are_still_found() -> None:
    """More bad records than that: one that was taken is sent again in between, to see that it is about the bad ones."""

    def picky(sent: Sequence[Record]) -> Verdict:
        bad = any(int(record.insert_id) < 6 for record in sent)
        return Verdict(Meaning.ALL_IN_DOUBT, 400, "cannot parse") if bad else TAKEN

    refused = await sender(ScriptedMixpanel(*[picky] * 80), refused_retry=0.01).deliver(records(16))
    assert sorted(int(one.record.insert_id) for one in refused) == list(range(6))


async def test_send_mixpanel_does_not_repeat_itself_for_ever() -> None:
    """200 with fewer taken than sent, again and again: halves find the one that never is, with that as the reason."""

    def short(sent: Sequence[Record]) -> Verdict:
        missing = sum(record.insert_id == "2" for record in sent)
        words = f"{len(sent) - missing} of {len(sent)} records were accepted"
        return Verdict(Meaning.LATER, 200, words, imported=len(sent) - missing) if missing else TAKEN

    mixpanel = ScriptedMixpanel(*[short] * 60)
    refused = await sender(mixpanel, backoff_first=0.001, backoff_most=0.001, refused_retry=0.01).deliver(records(4))
    assert [(one.record.insert_id, one.reason) for one in refused] == [("2", "0 of 1 records were accepted")]


@pytest.mark.parametrize(
    ("meaning", "status", "health"),
    [
        (Meaning.CREDENTIALS, 401, "failing"),
        (Meaning.ADDRESS, 404, "failing"),
        (Meaning.LATER, 429, "degraded"),
    ],
)
async def test_send_mixpanel_health_tells_the_trouble(meaning: Meaning, status: int, health: str) -> None:
    """While records wait, health says why, with Mixpanel's words and when it is tried next; then it is well again."""
    mixpanel = ScriptedMixpanel(Verdict(meaning, status, "what Mixpanel said"))
    one_lane = sender(mixpanel, backoff_first=0.3, backoff_most=0.3, refused_retry=0.3)
    job = asyncio.create_task(one_lane.deliver(records(1)))
    await asyncio.sleep(0.1)
    facts = sender_health(one_lane)
    assert facts["status"] == health
    assert "what Mixpanel said" in facts["reason"]
    assert len(mixpanel.sent) == 1
    assert await job == []
    assert sender_health(one_lane) == {"status": "ok"}


async def test_send_mixpanel_trouble_is_one_line_and_its_end_another() -> None:
    """However often it is tried: a warning with the reason when it begins, an info when it is over, nothing secret."""
    log = Lines()
    one_lane = sender(ScriptedMixpanel(*[Verdict(Meaning.LATER, 0, "no connection within 10 s")] * 3), log)
    await one_lane.deliver(records(1))
    assert log.events == [BEGAN, OVER]
    facts = log.lines[0][2]
    assert (facts["project"], facts["reason"]) == ("default", "no connection within 10 s")
    assert log.lines[1][2]["lasted_s"] >= 0
    assert "eA==" not in str(log.lines)
    await one_lane.deliver(records(1))
    assert len(log.lines) == 2


async def test_send_mixpanel_another_trouble_is_told_too() -> None:
    """Unreachable, then refused credentials: two warnings, for these want different hands; one end."""
    log = Lines()
    script = [later(503), later(503), *[Verdict(Meaning.CREDENTIALS, 401, "Invalid credentials")] * 2]
    await sender(ScriptedMixpanel(*script), log).deliver(records(1))
    assert log.events == [BEGAN, BEGAN, OVER]
    assert [facts["reason"] for _, _, facts in log.lines[:2]] == ["503: slow down", "401: Invalid credentials"]


def test_send_mixpanel_trouble_that_comes_and_goes_fills_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a minute of a warning, the next trouble is told only when it still goes on after that minute."""
    now = 1000.0
    monkeypatch.setattr("send_mixpanel.trouble.time.monotonic", lambda: now)
    log = Lines()
    told = TroubleLog(Project("default", "https://example.com"), log)
    for _ in range(5):
        told.goes_on(later(429), 2.0)
        told.over(1.0)
    assert log.events == [BEGAN, OVER]
    now += 61
    told.goes_on(later(429), 2.0)
    assert log.events == [BEGAN, OVER, BEGAN]


async def test_send_mixpanel_health_shows_no_status_where_there_was_none() -> None:
    """Status 0 is ours, not Mixpanel's: health says only what happened."""
    one_lane = sender(ScriptedMixpanel(Verdict(Meaning.LATER, 0, "no connection within 10 s")), backoff_first=0.3)
    job = asyncio.create_task(one_lane.deliver(records(1)))
    await asyncio.sleep(0.05)
    assert (
        sender_health(one_lane)["reason"]
        == "Mixpanel is unavailable (no connection within 10 s); events wait in the stream"
    )
    job.cancel()


async def test_send_mixpanel_without_credentials_sends_nothing() -> None:
    """A sender without credentials holds its events and makes no request."""
    mixpanel = ScriptedMixpanel()
    project = Project("default", "https://example.com")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ProjectSender(project, mixpanel, Options(project)).deliver(records(1)), 0.05)
    assert mixpanel.sent == []


async def test_send_mixpanel_changes_go_one_request_after_the_other() -> None:
    """However many requests there may be at once; halves stay in their order too."""
    mixpanel = ScriptedMixpanel(TAKEN, Verdict(Meaning.TOO_LARGE, 413, ""), later(503))
    lane = sender(mixpanel, endpoint=ENGAGE, batch_events=4, in_flight=8)
    assert await lane.deliver(records(12)) == []
    assert mixpanel.most_at_once == 1
    taken = mixpanel.sent[:1] + mixpanel.sent[3:]
    assert [number for request in taken for number in request] == [str(number) for number in range(12)]
    assert mixpanel.sent[2] == mixpanel.sent[3]


async def test_send_mixpanel_a_refused_change_holds_nobody_back_and_none_is_sent_twice() -> None:
    """Many in a row are believed to be bad: to send a good one again as a check would apply it again."""

    def refuse_bad(sent: Sequence[Record]) -> Verdict:
        bad = any(int(record.insert_id) < 9 for record in sent)
        return Verdict(Meaning.ALL_IN_DOUBT, 200, "no number") if bad else TAKEN

    mixpanel = ScriptedMixpanel(*[refuse_bad] * 100)
    lane = sender(mixpanel, endpoint=ENGAGE)
    refused = await asyncio.wait_for(lane.deliver(records(12)), 5)
    assert [refusal.record.insert_id for refusal in refused] == [str(number) for number in range(9)]
    assert lane.state.taken == 3


async def test_send_mixpanel_changes_wait_while_the_token_is_refused() -> None:
    no_token = Verdict(Meaning.ALL_IN_DOUBT, 200, "token, missing or empty")
    lane = sender(ScriptedMixpanel(*[no_token] * 5), endpoint=ENGAGE)
    assert await asyncio.wait_for(lane.deliver(records(1)), 5) == []
    assert lane.state.taken == 1
