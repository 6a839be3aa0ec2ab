"""What comes in while one looks: the live log, events, traces, dead letters; and a director that goes away."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect


def lines(page: Page) -> Any:
    return page.locator("#lines .line")


def letter(number: int, reason: str) -> dict[str, Any]:
    at = 1_795_480_000_000 + number
    return {"stream_id": f"{at}-0", "at": str(at), "reason": reason, "event": {"key": "in.gen.track.buy", "id": number}}


def test_the_log_shows_lines_of_all_in_order_as_they_come(visit: Any, theatre: Any) -> None:
    """Lines of before stand in the order of their time, new ones come at the end, streams are told apart."""
    now = time.time()
    theatre.tell("print", name="mmgeo", text="second", at=now - 20)
    theatre.tell("print", name="front", text="first", at=now - 30)
    page = visit.open()
    expect(lines(page)).to_have_count(2)
    assert page.locator("#lines .text").all_inner_texts() == ["first", "second"]
    theatre.tell("print", name="front", text="third", stream="stderr")
    expect(lines(page).nth(2)).to_have_class(re.compile("s-stderr"))
    assert lines(page).nth(2).locator(".sr").inner_text() == "stderr:"
    expect(page.locator("#log-state")).to_have_text("3 lines")


def test_errors_and_warnings_stand_out_and_a_line_has_one_time(visit: Any, theatre: Any) -> None:
    """By their level, live and as the server makes it; the time that a line begins with stands beside it."""
    text = ["2026-11-27T01:45:29.497163Z [error    ] boom", "[warning  ] old", "[info     ] no errors"]
    theatre.tell("print", name="front", text=text)
    page = visit.open()
    expect(lines(page)).to_have_count(3)
    expect(lines(page).nth(0)).to_have_class(re.compile("l-error"))
    expect(lines(page).nth(0).locator(".text")).to_have_text("[error    ] boom")
    expect(lines(page).nth(1)).to_have_class(re.compile("l-warning"))
    assert "l-" not in (lines(page).nth(2).get_attribute("class") or "")
    shown = visit.context.request.get("/").text()
    assert "l-error" in shown
    assert "[error    ] boom" in shown and "2026-11-27T01:45:29.497163Z [error" not in shown


def test_a_row_of_an_event_names_its_page(visit: Any, theatre: Any) -> None:
    """Without its query, before place and device."""
    theatre.event(key="in.gen.track.page", name="page", data={"page": {"url": "https://rock.st/docs/intro?mail=x"}})
    page = visit.open()
    expect(page.locator(".event-more").first).to_have_text("/docs/intro")


def test_search_filters_and_marks(visit: Any, theatre: Any) -> None:
    """Only lines that have the words stay, the words are marked; Esc shows all again."""
    theatre.tell("print", name="front", text=["one Apple", "two pears", "three apples"])
    page = visit.open()
    expect(lines(page)).to_have_count(3)
    page.keyboard.press("/")
    page.keyboard.type("apple")
    expect(lines(page)).to_have_count(2)
    assert page.locator("#lines mark").all_inner_texts() == ["Apple", "apple"]
    expect(page.locator("#log-state")).to_have_text("2 of 3 lines have “apple”")
    theatre.tell("print", name="front", text=["no fruit", "an apple more"])
    expect(lines(page)).to_have_count(3)
    page.keyboard.press("Escape")
    expect(lines(page)).to_have_count(5)


def test_pause_holds_lines_back_and_resume_brings_them(visit: Any, theatre: Any) -> None:
    """While paused nothing moves and the number of lines that wait is told."""
    theatre.tell("print", name="front", text="before")
    page = visit.open()
    expect(lines(page)).to_have_count(1)
    page.keyboard.press("p")
    theatre.tell("print", name="front", text=["while", "paused"])
    expect(page.locator("#log-state")).to_contain_text("Paused; 2 new lines wait.")
    expect(lines(page)).to_have_count(1)
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(lines(page)).to_have_count(3)


def test_one_service_is_chosen_by_its_card_or_in_the_list(visit: Any, theatre: Any) -> None:
    """Log on a card shows its lines only; `all services` shows all again."""
    theatre.tell("print", name="front", text="from front")
    theatre.tell("print", name="mmgeo", text="from mmgeo")
    page = visit.open()
    expect(lines(page)).to_have_count(2)
    page.get_by_role("button", name="Log mmgeo").click()
    expect(page.locator("#lines .text")).to_have_text(["from mmgeo"])
    theatre.tell("print", name="front", text="more of front")
    theatre.tell("print", name="mmgeo", text="more of mmgeo")
    expect(page.locator("#lines .text")).to_have_text(["from mmgeo", "more of mmgeo"])
    page.get_by_role("combobox").select_option("")
    expect(lines(page)).to_have_count(4)


def test_the_log_is_bounded(visit: Any, theatre: Any) -> None:
    """However much a service prints, the page shows the newest 1,500 lines and keeps 5,000."""
    page = visit.open()
    for part in range(8):
        theatre.tell("print", name="front", text=[f"line {part}-{number}" for number in range(800)])
        time.sleep(0.3)
    expect(lines(page).last).to_contain_text("line 7-799")
    expect(lines(page)).to_have_count(1500)
    expect(page.locator("#log-state")).to_have_text("5000 lines")


def test_events_arrive_open_and_lead_to_their_trace(visit: Any, theatre: Any) -> None:
    """A new event comes to the top; opened it is JSON with keys and values told apart; its trace is a time line."""
    visitor = visit.open()
    expect(visitor.locator("#no-events")).to_be_visible()
    theatre.event(key="in.gen.track.first")
    number = theatre.event()
    top = visitor.locator(".event").first
    expect(top.locator(".event-key")).to_have_text("track.signup")
    expect(top).to_contain_text("London, United Kingdom · Mobile Safari on iOS")
    expect(visitor.locator("#no-events")).to_be_hidden()
    top.locator("summary").click()
    expect(top.locator(".j-key").filter(has_text='"city_en"')).to_be_visible()
    expect(top.locator(".j-num").filter(has_text="12.5")).to_be_visible()
    theatre.event(key="in.gen.track.later")
    expect(visitor.locator(".event")).to_have_count(3)
    expect(visitor.locator(".event").nth(1).locator("details")).to_have_attribute("open", "")
    visitor.get_by_role("link", name="Trace of this event").click()
    visitor.wait_for_url(f"**/dashboard/trace/{number}")
    steps = visitor.locator(".step h2")
    expect(steps).to_have_text(["Received", "3 enrichers asked", "Accepted"])
    expect(visitor.locator(".bars tr").nth(0)).to_contain_text(re.compile(r"mmgeo\s*ok\s*1\.2 ms\s*London"))
    expect(visitor.locator(".bars tr").nth(1)).to_contain_text("cached")


def test_a_trace_tells_who_took_the_event_and_what_mixpanel_said(visit: Any, theatre: Any) -> None:
    """Groups of listeners stand in the time line: taken with the answer, pending, waiting."""
    number = theatre.event()
    store = theatre.redis
    stream_id = store.xrevrange("events", count=1)[0][0].decode()
    store.xgroup_create("events", "send_mixpanel", "0")
    store.xreadgroup("send_mixpanel", "one", {"events": ">"})
    store.xack("events", "send_mixpanel", stream_id)
    store.xadd("events:taken:send_mixpanel", {"ids": stream_id, "ms": "131"})
    store.xgroup_create("events", "archive", "0")
    store.xreadgroup("archive", "one", {"events": ">"})
    store.xgroup_create("events", "late", "0")
    theatre.tell(
        "trace", trace={"outcome": "taken", "at": int(time.time() * 1000), "answer": "200 OK, 212 in one batch"}
    )
    page = visit.open(f"/dashboard/trace/{number}")
    expect(page.locator(".trace")).to_contain_text("Processed by send_mixpanel")
    expect(page.locator(".trace")).to_contain_text("Processed in 131 ms. It reports “taken: 200 OK, 212 in one batch”.")
    expect(page.locator(".trace")).to_contain_text("archive is processing it")
    expect(page.locator(".trace")).to_contain_text("Waits for late")


def test_a_trace_of_an_event_that_is_not_there_says_why(visit: Any, theatre: Any) -> None:
    """The page says so and where it looked."""
    visit.expected = ("404",)
    page = visit.open("/dashboard/trace/7530741854237622272")
    expect(page.get_by_role("heading", level=1)).to_contain_text("is not in the stream")
    expect(page.locator("main")).to_contain_text("the stream is empty")


def test_dead_letters_are_listed_replayed_and_deleted(visit: Any, theatre: Any) -> None:
    """Each letter with its reason and event; one or all can be sent again or deleted, deleting asks first."""
    theatre.tell(
        "letters", letters=[letter(1, "time is invalid"), letter(2, "distinct_id is refused"), letter(3, "no")]
    )
    page = visit.open()
    rows = page.locator(".letter")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("time is invalid")
    rows.first.locator("summary").click()
    expect(rows.first.locator(".json")).to_contain_text('"key": "in.gen.track.buy"')
    rows.first.get_by_role("button", name=re.compile("^Replay")).click()
    expect(rows).to_have_count(2)
    rows.first.get_by_role("button", name=re.compile("^Delete")).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Delete all…").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Delete all…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete all").click()
    expect(page.locator(".letter")).to_have_count(0)
    expect(page.locator("#dead")).to_be_empty()


def test_a_director_that_goes_away_is_noticed_and_comes_back(visit: Any, theatre: Any) -> None:
    """The page says that nobody answers, tries again, and is fresh as soon as the director is back."""
    visit.expected = ("WebSocket connection to", "ERR_CONNECTION", "Failed to load resource")
    page = visit.open()
    theatre.close()
    expect(page.locator("#link")).to_have_text("The director does not answer; trying again")
    expect(page.locator("#log-state")).to_contain_text("Log stream disconnected; reconnecting.")
    page.get_by_role("button", name="Restart uaparser").click()
    page.get_by_role("dialog").get_by_role("button", name="Restart").click()
    expect(page.get_by_role("alert")).to_contain_text("the director does not answer")
    theatre.open()
    theatre.tell("print", name="front", text="after the break")
    expect(page.locator("#link")).to_have_text("live")
    expect(page.locator("#lines")).to_contain_text("after the break")
    theatre.event()
    expect(page.locator(".event-key").first).to_have_text("track.signup")


def test_what_others_write_is_text_and_never_runs(visit: Any, theatre: Any) -> None:
    """Output of services, events, titles and reasons with markup, scripts and terminal codes stay text."""
    bad = "<script>window.hit=1</script><img src=x onerror=window.hit=1></script><svg onload=window.hit=1>"
    theatre.tell("letters", letters=[letter(1, bad), {**letter(2, "x"), "stream_id": f"'\"><b id=hit>{bad}"}])
    theatre.tell(
        "print",
        name="front",
        text=[bad, "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example/\x07link\x1b]8;;\x07 \x1b[2J\u202eend"],
    )
    number = theatre.event(key=f"in.gen.{bad}", data={bad: bad, "mmgeo": {"city_en": bad}}, channel=bad)
    theatre.redis.xadd("events", {"event": bad})
    page = visit.open()
    expect(page.locator("#lines .text").nth(0)).to_have_text(bad)
    expect(page.locator("#lines .text").nth(1)).to_have_text("red link end")
    expect(page.locator(".event")).to_have_count(2)
    page.locator("#log-search").fill("<script>")
    expect(page.locator("#lines mark").first).to_have_text("<script>")
    expect(page.locator(".event-key").nth(1)).to_have_text(bad)
    expect(page.locator(".letter-reason").first).to_have_text(bad)
    theatre.event(key=f"in.gen.{bad}")  # one that comes over the socket
    expect(page.locator(".event")).to_have_count(3)
    assert page.evaluate("[window.hit, document.querySelector('#hit, main script, main img, main [onerror]')]") == [
        None,
        None,
    ]
    page.goto(f"/dashboard/trace/{number}")
    expect(page.get_by_role("heading", level=1)).to_have_text(bad)
    assert page.evaluate("window.hit") is None


def test_titles_of_folders_are_text_too(visitors: Callable[..., Any], theatre: Any, tmp_path: Any) -> None:
    """A folder's title with markup in it, on its card, in dialogs and on the shelf, is text."""
    path = tmp_path / "user" / "odd"
    path.mkdir(parents=True)
    (path / "Dockerfile").write_text("FROM scratch\n")
    (path / "band.yml").write_text("title: \"<img src=x onerror=window.hit=1>'\\\">\"\nsecrets: ['<b>X</b>']\n")
    page = visitors().open()
    expect(page.locator("#shelf-odd")).to_contain_text("<img src=x")
    page.get_by_role("button", name="Run odd").click()
    expect(page.get_by_role("dialog")).to_contain_text("<b>X</b>")
    page.get_by_role("dialog").get_by_role("button", name="Run", exact=True).click()
    expect(page.locator("#card-odd .card-title")).to_contain_text("<img src=x")
    assert page.evaluate("window.hit") is None
