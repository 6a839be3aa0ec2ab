"""The page's parts that need no browser: words, places, cards, JSON, time lines, files, colours."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape

from band.platform import UNSHOWABLE
from director import __version__
from director.api.handlers import ENDPOINTS
from director.api.schemas import DataFacts, HealthFacts, PortPair, ReleaseRow, ServiceCounts, ServiceRow
from director.api.security import Guard
from director.api.server import error_middleware
from director.dashboard import formatting, lists, timeline
from director.dashboard.board import Board, Facts, _alarms
from director.dashboard.cards import MOST_COLUMNS, card, front_port, place
from director.dashboard.formatting import LONGEST, pretty
from director.dashboard.lists import MAX_PATH, item
from director.dashboard.login import _own
from director.dashboard.pages import DOCS, Pages
from director.dashboard.rendering import FOLDER, Assets, Renderer
from director.images.buildkit import BuildLog
from director.state.crash_log import CrashLoop, RollbackRecord
from director.state.event_stream import StoredEvent
from director.supervise.status import DirectorPart, Part, RedisPart

STYLE = (FOLDER / "style.css").read_text(encoding="utf-8")
DOCUMENTATION = Path(__file__).parents[3] / "docs"
NOW = 1_795_480_000.0
POSITIONS = st.from_regex(r"[0-9]{1,2}x[0-9]{1,2}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def row(**more: Any) -> ServiceRow:
    """A row of `/list`."""
    given: dict[str, Any] = {
        "name": "one", "state": "running", "short_id": "a" * 12, "title": "One", "pos": "2x1", "uptime": 3 * 3600 + 720,
        "ports": [PortPair(8901, 8080)], "image": "ns/one:0123456789abcdef", "health": "ok", "wanted": "running",
        "memory": 50 * 2**20, "memory_limit": 350 * 2**20, "cpu_percent": 0.42, **more,
    }  # fmt: skip
    return ServiceRow(**given)


def crash(reason: str, exit_code: int, *lines: str, oom: bool = False) -> CrashLoop:
    return CrashLoop(reason=reason, exit_code=exit_code, oom_killed=oom, at=NOW, last_lines=list(lines))


def rolled_back(source: str, reason: str) -> RollbackRecord:
    return RollbackRecord(at=NOW, source=source, target="b", reason=reason)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (-1, "–"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h 0 min"),
     (86399, "23 h 59 min"), (86400, "1 d 0 h"), (270_000, "3 d 3 h")],
)  # fmt: skip
def test_durations_read_as_people_say_them(seconds: float | None, text: str) -> None:
    """The two largest units, never more."""
    assert formatting.duration(seconds) == text


def test_sizes_shares_and_times_have_as_many_digits_as_matter() -> None:
    """Small ones get a decimal, large ones do not; what is not known is a dash."""
    assert [formatting.mebibytes(size) for size in (None, 5_400_000, 61 * 2**20, 3 * 2**30)] == [
        "–",
        "5.1 MiB",
        "61 MiB",
        "3.0 GiB",
    ]
    assert [formatting.percent(share) for share in (None, 0.04, 9.96, 180.4)] == ["–", "0.0 %", "10.0 %", "180 %"]
    assert [formatting.milliseconds(ms) for ms in ("x", True, 0.123, 3.14, 47, 1300, 90_000)] == [
        "–", "–", "0.12 ms", "3.1 ms", "47 ms", "1.3 s", "1 min",
    ]  # fmt: skip


def test_a_service_that_runs_elsewhere_has_no_buttons() -> None:
    """Nobody here can stop it; one that stands in for a stopped service of ours leaves that one startable."""
    away = card(row(state="external", wanted="unknown", memory=None, cpu_percent=None), NOW)
    assert (away.ours, away.running, away.look.word) == (False, False, "running")
    assert [fact.value for fact in away.facts if fact.label == "runs"] == ["elsewhere"]
    assert card(row(state="external", wanted="stopped"), NOW).ours
    assert card(row(), NOW).ours


def test_places_keep_the_order_and_not_the_gaps() -> None:
    """Column 5 of columns 1, 2, 5 is the third; two with one place do not cover each other; others take free cells."""
    found = place({"front": "1x1", "geo": "2x4", "late": "5x1", "twin": "2x4", "odd": None, "wrong": "far"})
    assert (found["front"], found["geo"], found["late"]) == ((1, 1), (2, 2), (3, 1))
    assert len(set(found.values())) == len(found)
    # The original counted from 0; what stands there comes first, and nothing is shifted against anything.
    assert place({"front": "1x1", "sync": "0x0", "low": "1x0"}) == {"sync": (1, 1), "low": (2, 1), "front": (2, 2)}


@settings(deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), st.none() | POSITIONS, max_size=40))
def test_every_service_gets_a_cell_of_its_own(wanted: dict[str, str | None]) -> None:
    """Whatever positions are asked for: each service has one cell, and no cell is outside the style sheet's columns."""
    found = place(wanted)
    assert set(found) == set(wanted)
    assert len(set(found.values())) == len(found)
    assert all(1 <= column <= MOST_COLUMNS and row >= 1 for column, row in found.values())


def test_a_card_says_how_a_service_is_in_word_tone_and_shape() -> None:
    """Every word of health has a tone and an icon, none of trouble looks like being well; unknown words are shown."""
    looks = {
        word: card(row(health=word), NOW).look
        for word in ("ok", "starting", "degraded", "failing", "crashed", "stopped", "new")
    }
    assert looks["ok"].word == "running" and not looks["ok"].trouble
    assert {looks[word].icon for word in ("ok", "starting", "degraded", "failing", "crashed")} == {
        "ok",
        "wait",
        "warn",
        "bad",
        "crash",
    }
    assert looks["new"].word == "new" and looks["new"].trouble
    assert card(row(health="stopped", wanted="running"), NOW).look.word == "missing"
    assert card(row(health="stopped", wanted="stopped"), NOW).look.trouble is False


def test_a_card_in_trouble_says_why_and_what_to_do() -> None:
    """Amber and red words have their reason beside them, escaped; a crash tells its own; who is well has none."""
    why = "stream: 981 of 1000 <events>; held back by lagging (remove its group)"
    render = Renderer(Assets(), namespace="t", guarded=False).macro("card.html", "render")
    html = render(card(row(health="degraded", health_reason=why), NOW), (1, 1))
    assert f'<p class="reason tone-warn">{escape(why)}</p>' in html
    assert 'class="reason tone-bad"' in render(card(row(health="failing", health_reason=why), NOW), (1, 1))
    both = row(health="failing", health_reason=why, rolled_back=rolled_back("a", "it died"))
    assert [reason.tone for reason in card(both, NOW).reasons] == ["bad", "warn"]
    assert card(row(health="ok", health_reason="odd"), NOW).reasons == []
    crashed = row(health="crashed", health_reason=why, crash=crash("x", 1))
    assert card(crashed, NOW).reasons == []


@pytest.mark.parametrize(
    ("text", "level"),
    [("2026-11-27T01:45:29.49Z [error    ] boom", "error"), ("[critical] x", "error"), ("[warning  ] old", "warning"),
     ("[info     ] [ok] no errors", ""), ('{"event": "x", "level": "error"}', "error"), ("Error: plain", "")],
)  # fmt: skip
def test_a_log_line_that_says_it_is_an_error_is_shown_as_one(text: str, level: str) -> None:
    """By the level that structlog writes, in both forms; a word in a sentence is none."""
    assert formatting.level(text) == level


def test_a_log_line_has_one_time() -> None:
    """The one that it begins with stands beside it already; others stay."""
    assert formatting.without_stamp("2026-11-27T01:45:29.497163Z [info ] a 2026-11-27T01:45:29Z") == (
        "[info ] a 2026-11-27T01:45:29Z"
    )
    assert formatting.without_stamp("2026-11-27 was a Friday") == "2026-11-27 was a Friday"


@pytest.mark.parametrize(
    ("page", "path"),
    [({"url": "https://rock.st/docs/?a=1#x"}, "/docs/"), ({"url": "https://rock.st"}, "/"), ({"url": "odd"}, ""),
     ({"url": 7}, ""), ("x", ""), ({"url": "https://a/" + "x" * 500}, "/" + "x" * (MAX_PATH - 1))],
)  # fmt: skip
def test_an_events_row_shows_the_page_that_it_came_from(page: Any, path: str) -> None:
    """Its path, without what may hold something personal; nothing where the event does not tell."""
    shown = item(StoredEvent("1-0", {"key": "in.gen.track.page", "data": {"page": page}}))
    assert shown.about == path


async def test_the_page_has_a_version_and_help_that_leads_somewhere() -> None:
    """The help names pages of the documentation that are there, and every path of the API."""
    nothing: Any = None
    pages = Pages(nothing, nothing, Renderer(Assets(), namespace="t", guarded=False), nothing)
    app = web.Application()
    app.add_routes(pages.routes())
    async with TestClient(TestServer(app)) as client:
        text = await (await client.get("/dashboard/help")).text()
    assert f"Rockstat Band {__version__} · " in text
    for page, _ in DOCS:
        assert (DOCUMENTATION / page).is_file()
        assert f"docs/{page}" in text
    for endpoint in ENDPOINTS:
        assert str(escape(endpoint.summary)) in text
    assert '<a href="/list">/list</a>' in text
    assert '"/rebuild_all"' not in text, "what changes something is no link"


def test_dead_letters_are_a_badge_on_the_card_and_in_the_head() -> None:
    """One letter, many letters; none is no badge."""
    renderer = Renderer(Assets(), namespace="t", guarded=False)
    render, summary = renderer.macro("card.html", "render"), renderer.macro("parts.html", "summary")
    assert "1 dead letter</a>" in render(card(row(dead_letters=1), NOW), (1, 1))
    assert "/dashboard/service/one#dead-one" in render(card(row(dead_letters=1200), NOW), (1, 1))
    assert "dead letter" not in render(card(row(), NOW), (1, 1))
    facts = Facts(running=1, stopped=0, troubled=[], worst="warn", dead_letters=1200, alarms=[])
    assert "1,200 dead letters</a>" in summary(facts)
    assert "dead letter" not in summary(msgspec.structs.replace(facts, dead_letters=0))


def test_the_head_says_what_is_wrong_with_the_platform_itself() -> None:
    """Docker, Redis and the director: what, and why; nothing of those that are well."""
    counts = ServiceCounts(0, 0, [], {})
    health = HealthFacts(
        "failing", DirectorPart(status="degraded", reason="its background loop usage is failing", version="1"),
        Part(status="unavailable", reason="no socket"),
        RedisPart(status="failing", reason="it is <full>", desired_loaded=True),
        counts,
    )  # fmt: skip
    found = list(_alarms(health))
    assert [(alarm.text, alarm.tone) for alarm in found] == [
        ("Docker does not answer: no socket", "bad"), ("Redis: it is <full>", "bad"),
        ("The director: its background loop usage is failing", "warn"),
    ]  # fmt: skip
    summary = Renderer(Assets(), namespace="t", guarded=False).macro("parts.html", "summary")
    html = summary(Facts(running=1, stopped=0, troubled=[], worst="warn", dead_letters=0, alarms=found))
    assert "Redis: it is &lt;full&gt;" in html
    redis = RedisPart(status="ok", desired_loaded=True)
    well = HealthFacts("ok", DirectorPart(status="ok", version="1"), Part(status="ok"), redis, counts)
    assert list(_alarms(well)) == []


def test_a_card_tells_the_facts() -> None:
    """Uptime, CPU, restarts, port, data, release, memory, as `/list` has them."""
    data = DataFacts("DB-IP", "2026-11-01", 22.6, None)
    made = card(row(data=data, crashes=2, restarts=5, watch_until=NOW + 42), NOW)
    facts = {fact.label: fact.value for fact in made.facts}
    assert facts == {
        "up": "3 h 12 min", "cpu": "0.4 %", "probation": "42 s left", "restarts": "5, 2 crashes recently",
        "port": "8901 → 8080", "data": "22 days old",
    }  # fmt: skip
    assert made.gauge is not None
    assert (made.gauge.text, made.release) == ("50 MiB of 350 MiB", "0123456789ab")
    assert card(row(memory=None), NOW).gauge is None
    gone = card(row(state="exited", exit_code=137, health="stopped", wanted="stopped"), NOW)
    assert next((fact.label, fact.value, fact.tone) for fact in gone.facts) == ("exit code", "137", "bad")


def test_a_card_with_everything_on_it_renders_and_escapes() -> None:
    """Crash, rollback, build, hostile words: the template takes them all, and they stay text."""
    bad = "<b onclick=x>'\"&"
    crashed = crash(bad, 3, bad, "two", oom=True)
    render = Renderer(Assets(), namespace="t", guarded=False).macro("card.html", "render")
    building = BuildLog()
    building.feed(f"#7 [2/5] {bad}")
    building.feed(f"#7 0.12 {bad}")
    for one in (
        card(row(title=bad, crash=crashed), NOW),
        card(row(rolled_back=rolled_back(bad, bad)), NOW),
        card(row(), NOW, building=building),
    ):
        html = render(one, (1, 1))
        assert "<b onclick" not in html
    assert "step 2 of 5" in render(card(row(), NOW, building=building), (1, 1))
    assert "OOM-killed" in render(card(row(crash=crashed), NOW), (1, 1))


@settings(deadline=None)
@given(JSON)
def test_json_as_html_holds_the_same_and_no_markup_of_it(value: Any) -> None:
    """Without its tags and escapes the HTML is the JSON again; only our own spans are in it."""
    html = str(pretty(value))
    assert set(re.findall(r"<[^>]*>", html)) <= {
        "</span>",
        *(f'<span class="j-{kind}">' for kind in ("key", "str", "num", "lit")),
    }
    text = re.sub(r"</?span[^>]*>", "", html)
    for escaped, plain in (("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        text = text.replace(escaped, plain)
    assert json.loads(text) == value


def test_json_that_is_too_much_is_cut_and_says_so() -> None:
    """Neither depth nor length can make a page of any size."""
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    assert len(pretty(deep)) < 5000
    long = str(pretty(["y" * 1000] * 1000))
    assert len(long) < LONGEST + 2000 and "the rest is not shown" in long


@settings(deadline=None)
@given(JSON, JSON)
def test_whatever_an_event_holds_it_is_listed_and_traced(event: Any, noted: Any) -> None:
    """No event, note or answer of a listener makes the page fail."""
    shown = item(StoredEvent("1795480000000-0", event))
    assert shown.at == NOW
    groups = [
        {"group": "a", "state": "taken", "at": NOW * 1000, "ms": 1.0, "answer": noted},
        {"group": "b", "state": "pending"},
    ]
    found = timeline.timeline({"event": event, "trace": noted, "groups": groups, "stream_id": "1-0", "time": 1})
    Renderer(Assets(), namespace="t", guarded=False).html("trace.html", theme="", id="1", **found)


def test_dead_letters_are_read_and_nonsense_is_none() -> None:
    """`count` and the newest letters, with their time; an answer of another shape is no list."""
    found = lists.queue(
        "one", {"count": 7, "letters": [{"stream_id": "1795480000000-0", "reason": "no", "at": "1795480000001"}, {}]}
    )
    assert found is not None
    assert (found.total, [letter.at for letter in found.letters]) == (7, [NOW + 0.001, 0.0])
    assert [lists.queue("one", answer) for answer in (None, [], {"letters": 3}, {"count": 1})] == [None] * 4
    listeners = {"stream_id": "1795480000000-0", "event_stream_id": "1795470000000-0", "reason": "ValueError: no"}
    found = lists.queue("visits", {"count": 1, "letters": [listeners], "replay": {"running": False, "replayed": 3}})
    assert found is not None
    assert [(letter.id, letter.reason) for letter in found.letters] == [("1795480000000-0", "ValueError: no")]
    assert lists.may_have_letters(row(register=[{"role": "listener"}]))
    assert not lists.may_have_letters(row(register=None))


def release(letter: str, **more: Any) -> ReleaseRow:
    given: dict[str, Any] = {
        "id": letter * 12, "image": "", "spec_hash": letter, "at": NOW, "since": None, "by": "run", "state": "good",
        "reason": "", "exit_code": None, "watch_until": None, "images_present": True, "env": {}, **more,
    }  # fmt: skip
    return ReleaseRow(**given)


def test_releases_the_newest_good_one_is_chosen_and_what_has_no_image_cannot_be() -> None:
    """The current one is no choice; one whose image is gone neither."""
    rows = [
        release("c", state="current"), release("f", state="failed"), release("g", images_present=False),
        release("h", spec_hash="s" * 16),
    ]  # fmt: skip
    assert [one.choosable for one in rows] == [False, False, False, True]
    form = Renderer(Assets()).macro("forms.html", "rollback")("one", rows)
    assert form.count(" disabled") == 3
    assert re.findall(r'value="(\w+)" checked', form) == ["s" * 16], "an id is shared by releases of another env"


def test_secrets_are_fields_without_a_value() -> None:
    """Declared secrets come first; whatever is secret is a password field that shows nothing."""
    found = lists.fields(["CODE"], {"CODE": "***", "TZ": "UTC", "API_TOKEN": "***"})
    assert [(one.key, one.secret, one.set, one.shown) for one in found] == [
        ("CODE", True, True, ""), ("API_TOKEN", True, True, ""), ("TZ", False, True, "UTC"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "path"),
    [("/", "/"), ("/dashboard/service/x?a=1", "/dashboard/service/x?a=1"), ("//evil.example", "/"), ("", "/"),
     ("/\\evil.example", "/"), ("https://evil.example/", "/"), ("javascript:alert(1)", "/"),
     ("/a\r\nSet-Cookie: x", "/"), ("/é", "/")],
)  # fmt: skip
def test_after_the_login_one_stays_on_this_director(asked: str, path: str) -> None:
    """No address of another site, and nothing that could break a header, is gone on to."""
    assert _own(asked) == path


@pytest.mark.parametrize(("ports", "shown"), [([PortPair(10002, 8080)], 10002), ([], 10001)])
def test_the_first_event_goes_to_fronts_port(ports: list[PortPair], shown: int) -> None:
    """The command shown while there is no event is one that works, wherever front listens."""
    cards = [(card(row(name=name, ports=ports), NOW), (1, 1)) for name, ports in (("one", []), ("front", ports))]
    assert front_port(cards) == shown


async def test_the_page_of_a_service_that_was_removed_meanwhile_is_not_found() -> None:
    """It was there when it was asked for, and is not on the board any more: 404 with the way to those there are."""

    class Gone:
        """Endpoints and board of a director whose one service has just been removed."""

        async def show(self, _given: Any) -> Any:
            return None

        async def cards(self) -> list[Any]:
            return []

        async def queue(self, _name: str, _patience: float) -> None:
            return None

    gone: Any = Gone()
    gone.services = gone
    pages = Pages(gone, gone, Renderer(Assets(), namespace="t", guarded=False), gone)
    app = web.Application()
    app.add_routes(pages.routes())
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/dashboard/service/one")
        assert (answer.status, "there is no service" in await answer.text()) == (404, True)


async def test_files_are_served_under_their_hash_only(tmp_path: Path) -> None:
    """Another content is another address; other versions, other files and ways out of the folder are 404."""
    for name, text in {"app.js": "1", "style.css": "2", "secret.txt": "3"}.items():
        (tmp_path / name).write_text(text)
    assets = Assets(tmp_path)
    (tmp_path / "app.js").write_text("changed")
    assert Assets(tmp_path).url("app.js") != assets.url("app.js")
    guard = Guard(frozenset({"127.0.0.1"}))
    app = web.Application(middlewares=[error_middleware(guard)])
    app.add_routes(assets.routes())
    async with TestClient(TestServer(app)) as client:
        good = await client.get(assets.url("app.js"))
        assert (good.status, await good.text()) == (200, "1")
        folder = assets.url("app.js").rpartition("/")[0]
        for path in (f"{folder}/secret.txt", f"{folder}/..%2fsecret.txt", "/dashboard/static/0/app.js"):
            assert (await client.get(path)).status == 404


def colours(theme: int) -> dict[str, str]:
    """The variables of the style sheet in the light (0) or dark (1) theme."""
    return {name: pair[theme] for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", STYLE)}


def contrast(one: str, other: str) -> float:
    """The ratio of two colours as WCAG 2 counts it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_colour_stands_out_from_every_ground(theme: int) -> None:
    """Text at least 4.5 against page, surface and sunken ground, in both themes; edges of fields at least 3."""
    found = colours(theme)
    grounds = ("bg", "surface", "sunken")
    for text in ("text", "muted", "accent", "ok", "info", "warn", "bad", "idle"):
        for ground in grounds:
            assert contrast(found[text], found[ground]) >= 4.5, (text, ground)
    for text, ground in (("accent-text", "accent"), ("accent-text", "bad"), ("mark-text", "mark")):
        assert contrast(found[text], found[ground]) >= 4.5, (text, ground)
    for ground in grounds:
        assert contrast(found["edge"], found[ground]) >= 3, ground


def test_the_style_sheet_names_every_colour_as_a_variable() -> None:
    """Colours stand at one place: outside of it only shadows and the veil behind dialogs are written out."""
    rest = STYLE[STYLE.index("/* --- ground */") :]
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?![^{]*\{)", rest) == []
    used = set(re.findall(r"var\(--([\w-]+)", STYLE))
    declared = set(re.findall(r"--([\w-]+):", STYLE))
    assert used <= declared


async def test_a_listener_that_hangs_does_not_hold_up_the_page() -> None:
    """Its dead letters are not waited for; those that were known before are shown, newer ones as they come."""
    hangs = asyncio.Event()

    class Api:
        """Two listeners, of which one answers when it is let."""

        def __init__(self) -> None:
            self.services = self.events = self

        async def list_services(self, _given: Any) -> list[ServiceRow]:
            return [row(name=name, register=[{"role": "listener"}]) for name in ("slow", "quick")]

        async def dead_letters(self, given: Any) -> Any:
            if given.name == "slow":
                await hangs.wait()
            return {"count": 1, "letters": [{"id": "1-1"}]}

    api: Any = Api()
    board = Board(api, api, api, api)
    assert await board.known_queues(0.05) == []
    assert await board.queue("slow", 0.05) is None
    hangs.set()
    assert [queue.name for queue in await board.known_queues(5.0)] == ["slow", "quick"]


def test_no_text_of_others_hides_or_turns_around_the_page() -> None:
    """Control characters and marks of direction show as one sign, plain or escaped already; all else stays."""
    renderer = Renderer(Assets())
    evil = "a\x1b[31m\x9b\x00b\u202ec\u2067d\u200f\u2028e\tf\n\u05d0 <i>"
    template = renderer._environment.from_string("{{ text }}|{{ text | e }}|{{ data | pretty }}|{{ 3 }}|{{ none }}")
    shown = template.render(text=evil, data={"\u202ekey": "\x9b\u2066"}, none=None)
    plain = "a�[31m��b�c�d��e\tf\n\u05d0 &lt;i&gt;"
    assert shown.startswith(f"{plain}|{plain}|")
    assert not set(map(ord, shown)) & UNSHOWABLE
    assert shown.endswith("|3|None")
