"""The services on the page: what is shown of them, and everything that can be done with them, clicked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

CANARY = "canary-5ecret-value"


def card(page: Page, name: str) -> Locator:
    return page.locator(f"#card-{name}")


def menu(page: Page, name: str, item: str) -> None:
    """Open a card's menu and choose an item."""
    card(page, name).locator(".menu summary").click()
    card(page, name).get_by_role("button", name=f"{item} {name}", exact=True).click()


def answer(page: Page, button: str) -> None:
    page.get_by_role("dialog").get_by_role("button", name=button, exact=True).click()


def folder(root: Path, name: str, **files: str) -> None:
    """Lay an image folder into the user collection."""
    path = root / "user" / name
    path.mkdir(parents=True)
    (path / "Dockerfile").write_text(files.pop("dockerfile", "FROM scratch\n"))
    for file, text in files.items():
        (path / file.replace("_yml", ".yml")).write_text(text)


def test_each_service_stands_at_its_place_with_its_state_in_words_and_figures(visit: Any) -> None:
    """Cards stand in the columns and rows of their `pos`; words, icons and figures tell how they are."""
    page = visit.open()
    boxes = {name: card(page, name).bounding_box() for name in ("front", "mmgeo", "sxgeo", "uaparser", "send_mixpanel")}
    assert boxes["front"]["x"] < boxes["mmgeo"]["x"] == boxes["sxgeo"]["x"] == boxes["uaparser"]["x"]
    assert boxes["mmgeo"]["y"] < boxes["sxgeo"]["y"] < boxes["uaparser"]["y"] == boxes["send_mixpanel"]["y"]
    assert boxes["uaparser"]["x"] < boxes["send_mixpanel"]["x"]
    expect(card(page, "front")).to_contain_text("10001 → 8080")
    expect(card(page, "front").locator(".state")).to_have_text("running")
    expect(card(page, "front")).to_contain_text("61 MiB of 350 MiB")
    expect(card(page, "front")).to_contain_text(re.compile(r"up\s*1 d 1 h"))
    expect(card(page, "front")).to_contain_text(re.compile(r"cpu\s*3\.8 %"))
    expect(card(page, "sxgeo").locator(".state")).to_have_text("degraded")
    expect(card(page, "sxgeo").locator(".state-icon use")).to_have_attribute("href", "#i-warn")
    expect(card(page, "sxgeo")).to_contain_text("162 days old")
    expect(page.locator("#summary")).to_contain_text("1 needs attention")
    expect(page).to_have_title("(1) Rockstat Band")
    expect(page.locator("#shelf-tg_hellobot")).to_contain_text("Telegram bot")


def test_an_amber_card_says_why_and_the_head_what_is_wrong_with_redis(visit: Any, theatre: Any) -> None:
    """The reason stands on the card in its colour; a Redis that refuses writes is told with what to do."""
    page = visit.open()
    reason = card(page, "sxgeo").locator(".reason")
    expect(reason).to_have_text("database: the database is older than 60 days")
    expect(reason).to_have_class(re.compile("tone-warn"))
    expect(card(page, "front").locator(".reason")).to_have_count(0)
    theatre.redis.config_set("maxmemory", 1)
    try:
        expect(page.locator("#summary .why")).to_contain_text("Redis: it refuses writes (OOM command not allowed")
        expect(page.locator("#summary .why")).to_contain_text("band_redis_maxmemory")
    finally:
        theatre.redis.config_set("maxmemory", 0)
    expect(page.locator("#summary .why")).to_have_count(0)


def test_dead_letters_are_a_badge_that_leads_to_them(visit: Any, theatre: Any) -> None:
    """On the card and in the head, as soon as there are some."""
    page = visit.open()
    expect(page.locator("#summary")).not_to_contain_text("dead letter")
    at = 1_795_480_000_000
    letter = {"stream_id": f"{at}-0", "at": str(at), "reason": "too old", "event": {"key": "in.gen.track.buy"}}
    theatre.tell("letters", letters=[letter])
    theatre.redis.xadd("dead:send_mixpanel", {"reason": "too old", "event": "{}"})
    expect(page.locator("#summary")).to_contain_text("1 dead letter")
    card(page, "send_mixpanel").get_by_role("link", name="1 dead letter").click()
    expect(page).to_have_url(re.compile("/dashboard/service/send_mixpanel#dead-send_mixpanel$"))
    expect(page.locator("#dead-send_mixpanel")).to_contain_text("Dead letters of send_mixpanel 1")


def test_the_foot_has_the_version_and_leads_to_help(visit: Any) -> None:
    """What the words mean, where the documentation lies, the API."""
    page = visit.open()
    expect(page.locator(".foot")).to_contain_text("Rockstat Band 0.1.0")
    page.get_by_role("link", name="Help", exact=True).click()
    expect(page.get_by_role("heading", name="What the words mean")).to_be_visible()
    expect(page.get_by_role("link", name="/list", exact=True)).to_be_visible()
    expect(page.locator("main")).to_contain_text("docs/monitoring.md")


@pytest.mark.parametrize("width", [1280, 1400, 1680, 360])
def test_no_figure_of_a_card_is_cut(visitors: Any, theatre: Any, width: int) -> None:
    """With five columns as on a phone: ports, ages and releases are there whole, none runs over its card."""
    for column, name in enumerate(("front", "mmgeo", "sxgeo", "uaparser", "send_mixpanel"), 1):
        theatre.ask(f"/set_pos/{name}?pos={column}x1")
    page = visitors(viewport={"width": width, "height": 900}).open()
    expect(page.locator("#grid")).to_have_attribute("data-cols", "5")
    expect(card(page, "front")).to_contain_text("10001 → 8080")
    cut = """() => [...document.querySelectorAll(".facts dt, .facts dd")].filter(item =>
      item.scrollWidth > item.clientWidth || item.getBoundingClientRect().height > 30).map(item => item.innerText)"""
    assert page.evaluate(cut) == []


def test_stop_asks_first_and_start_brings_back(visit: Any, theatre: Any) -> None:
    """Esc and Cancel change nothing; Stop stops; Start starts; focus goes back to where it was."""
    page = visit.open()
    stop = card(page, "uaparser").get_by_role("button", name="Stop uaparser")
    stop.click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(stop).to_be_focused()
    stop.click()
    answer(page, "Cancel")
    assert theatre.state("uaparser") == "running"
    stop.click()
    answer(page, "Stop")
    expect(card(page, "uaparser").locator(".state")).to_have_text("stopped")
    expect(page.get_by_role("status").filter(has_text="uaparser stopped")).to_be_visible()
    card(page, "uaparser").get_by_role("button", name="Start uaparser").click()
    expect(card(page, "uaparser").locator(".state")).to_have_text("running")
    assert theatre.state("uaparser") == "running"


def test_an_open_menu_stays_while_its_card_changes(visit: Any, theatre: Any) -> None:
    """Parts and buttons of the card come and go: what a person has opened stays open, and the focus where it is."""
    page = visit.open()
    found = card(page, "uaparser")
    found.locator(".menu summary").click()
    item = found.get_by_role("button", name="Move… uaparser", exact=True)
    item.focus()
    for path, word in (("/stop/uaparser", "stopped"), ("/start/uaparser", "running"), ("/restart/uaparser", "running")):
        theatre.ask(path)
        expect(found.locator(".state")).to_have_text(word)
        expect(found.locator(".building")).to_have_count(0)
        expect(item).to_be_focused()
        expect(item).to_be_visible()
    item.click()
    expect(page.get_by_role("dialog")).to_contain_text("Move uaparser")
    answer(page, "Cancel")


def test_restart_puts_a_fresh_container_in_place(visit: Any, theatre: Any) -> None:
    """The container is another one afterwards, and the card says how long it is up."""
    before = {row["name"]: row["short_id"] for row in theatre.ask("/list")}["uaparser"]
    page = visit.open()
    card(page, "uaparser").get_by_role("button", name="Restart uaparser").click()
    answer(page, "Restart")
    expect(card(page, "uaparser")).to_contain_text(re.compile(r"up\s*\d+ s"))
    after = {row["name"]: row["short_id"] for row in theatre.ask("/list")}["uaparser"]
    assert before != after


def test_remove_takes_the_card_away_and_the_folder_can_be_run_again(visit: Any, theatre: Any) -> None:
    """After Remove the service is gone from the grid and stands among those that do not run."""
    page = visit.open()
    menu(page, "uaparser", "Remove…")
    expect(page.get_by_role("dialog")).to_contain_text("Its volumes and images are kept")
    answer(page, "Remove")
    expect(card(page, "uaparser")).to_have_count(0)
    expect(page.locator("#shelf-uaparser")).to_be_visible()
    assert theatre.state("uaparser") == "missing"


def test_run_with_a_secret_that_is_never_shown_again(visit: Any, theatre: Any, tmp_path: Path) -> None:
    """A folder's declared secret is asked for in a password field, reaches the service, and stands nowhere."""
    folder(tmp_path, "mailer", band_yml="title: Mails\nsecrets: [MAIL_CODE]\npos: '4x1'\n")
    theatre.tell("build_pause", seconds=1.5)
    page = visit.open()
    page.locator("#shelf-mailer").get_by_role("button", name="Run mailer").click()
    field = page.get_by_label("MAIL_CODE")
    assert (field.get_attribute("type"), field.get_attribute("autocomplete")) == ("password", "new-password")
    field.fill(CANARY)
    answer(page, "Run")
    expect(page.locator("#shelf-mailer .build-line")).to_contain_text("step")
    expect(page.locator("#lines .s-build").filter(has_text="RUN pip install")).to_be_visible()
    expect(card(page, "mailer").locator(".state")).to_have_text("running")
    assert theatre.ask("/show/mailer")["env"]["MAIL_CODE"] == "***"
    menu(page, "mailer", "Run with settings…")
    expect(page.get_by_role("dialog")).to_contain_text("MAIL_CODE set")
    assert page.get_by_label("MAIL_CODE").input_value() == ""
    page.keyboard.press("Escape")
    theatre.tell("print", name="mailer", text=f"my code is {CANARY}!")
    expect(page.locator("#lines")).to_contain_text("my code is ***!")
    assert CANARY not in page.content()
    page.goto("/dashboard/service/mailer")
    expect(page.locator(".env")).to_contain_text("MAIL_CODE***")
    assert CANARY not in page.content() + theatre.log()


def test_a_second_run_leaves_what_was_set_before(visit: Any, theatre: Any, tmp_path: Path) -> None:
    """A field that stays empty keeps its value; one more variable joins those there are."""
    folder(tmp_path, "mailer", band_yml="secrets: [MAIL_CODE]\n")
    page = visit.open()
    page.locator("#shelf-mailer").get_by_role("button", name="Run mailer").click()
    page.get_by_label("MAIL_CODE").fill(CANARY)
    answer(page, "Run")
    expect(card(page, "mailer")).to_be_visible()
    menu(page, "mailer", "Run with settings…")
    page.get_by_label("Name").fill("COLOUR")
    page.get_by_label("Value").fill("blue")
    with page.expect_response("**/run/mailer"):  # the first run's words may still stand there
        answer(page, "Run")
    env = theatre.ask("/get_config/mailer")["env"]
    assert (env["MAIL_CODE"], env["COLOUR"]) == ("***", "blue")


def test_a_build_that_fails_says_what_why_and_the_last_lines(visit: Any, tmp_path: Path) -> None:
    """The notice holds message, hint and log of the failed build, and stays until it is closed."""
    visit.expected = ("502",)
    folder(tmp_path, "broken", dockerfile="FROM scratch\n# FAIL BUILD\n")
    page = visit.open()
    page.locator("#shelf-broken").get_by_role("button", name="Run broken").click()
    answer(page, "Run")
    notice = page.get_by_role("alert")
    expect(notice).to_contain_text("broken was not run: building")
    expect(notice).to_contain_text("see the step's last log lines")
    expect(notice.locator("pre")).to_have_text("no")
    notice.get_by_role("button", name="Close this notice").click()
    expect(notice).to_have_count(0)


def test_roll_back_to_a_release_that_is_chosen(visit: Any, theatre: Any, tmp_path: Path) -> None:
    """The dialog lists the releases with their state; the chosen one runs afterwards."""
    folder(tmp_path, "mailer", band_yml="pos: '4x1'\n")
    theatre.ask("/run/mailer")
    first = theatre.ask("/releases/mailer")["releases"][0]["id"]
    (tmp_path / "user" / "mailer" / "more").write_text("changed")
    theatre.ask("/run/mailer")
    page = visit.open()
    menu(page, "mailer", "Roll back…")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".choice")).to_have_count(2)
    expect(dialog.locator(".choice").first).to_contain_text("current")
    dialog.get_by_text(first).click()
    answer(page, "Roll back")
    expect(card(page, "mailer").locator(".facts")).to_contain_text(first[:8])
    states = {row["id"]: row["state"] for row in theatre.ask("/releases/mailer")["releases"]}
    assert states[first] == "current"


def test_move_puts_the_card_elsewhere(visit: Any, theatre: Any) -> None:
    """Another column and row: the card stands there, and `/list` says so."""
    page = visit.open()
    menu(page, "front", "Move…")
    page.get_by_label("Column").fill("3")
    page.get_by_label("Row").fill("1")
    answer(page, "Move")
    expect(card(page, "front")).to_have_attribute("data-col", "2")
    assert {row["name"]: row["pos"] for row in theatre.ask("/list")}["front"] == "3x1"


def test_rebuild_says_what_changed(visit: Any, theatre: Any, tmp_path: Path) -> None:
    """Only the service whose folder changed is built again."""
    folder(tmp_path, "mailer")
    theatre.ask("/run/mailer")
    (tmp_path / "user" / "mailer" / "more").write_text("changed")
    visit.expected = ("502",)
    page = visit.open()
    page.get_by_role("button", name="Rebuild changed services…").click()
    answer(page, "Rebuild")
    expect(page.get_by_role("status").filter(has_text="mailer")).to_be_visible()


def test_a_service_that_crashed_says_why(visit: Any, theatre: Any, tmp_path: Path) -> None:
    """One that ends by itself is shown as trouble, with its exit code, and the director's line in the log."""
    page = visit.open()
    theatre.tell("crash", name="uaparser", code=137)
    expect(page.locator("#lines .s-director").filter(has_text="exited with code 137")).to_be_visible()
    expect(card(page, "uaparser")).to_contain_text(re.compile(r"1 crash of late|crash"))


def test_a_page_of_one_service_tells_everything(visit: Any, theatre: Any) -> None:
    """Health, what it offers, releases, last lines: all in one page, and its card is kept fresh."""
    theatre.tell("print", name="mmgeo", text="the database was opened")
    page = visit.open()
    card(page, "mmgeo").get_by_role("link", name="mmgeo", exact=True).click()
    page.wait_for_url("**/dashboard/service/mmgeo")
    expect(page.get_by_role("heading", level=1)).to_have_text("Location by IP address (MaxMind, DB-IP)")
    expect(page.locator(".json").filter(has_text="DB-IP City Lite")).to_be_visible()
    expect(page.locator(".table")).to_contain_text("in.gen.track")
    expect(page.locator(".tail")).to_contain_text("the database was opened")
    page.get_by_role("button", name="Stop mmgeo").click()
    answer(page, "Stop")
    expect(card(page, "mmgeo").locator(".state")).to_have_text("stopped")
    page.goto("/dashboard/service/nobody")
    visit.expected = ("404",)
    expect(page.get_by_role("heading", level=1)).to_contain_text("there is no service 'nobody'")


def test_without_javascript_everything_can_be_read(visitors: Callable[..., Any], theatre: Any) -> None:
    """The server's own page holds services, events and folders; what cannot work is not shown."""
    theatre.event()
    page = visitors(java_script_enabled=False).page
    page.goto("/")
    expect(card(page, "front")).to_contain_text("61 MiB of 350 MiB")
    expect(page.locator(".event-key").first).to_have_text("track.signup")
    page.locator(".event summary").first.click()
    expect(page.locator(".event .json").first).to_contain_text('"city_en": "London"')
    expect(page.locator("#shelf-tg_hellobot")).to_be_visible()
    assert page.locator("button:visible").count() == 0
    expect(page.get_by_text("The live log needs JavaScript.")).to_be_visible()
    page.get_by_role("link", name="mmgeo", exact=True).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Location by IP address")


def test_an_empty_director_says_what_to_do(visitors: Callable[..., Any], theatre: Any) -> None:
    """No service, no event, no line: each place tells what to do."""
    for name in ("front", "mmgeo", "sxgeo", "uaparser", "send_mixpanel"):
        theatre.ask(f"/rm/{name}")
    page = visitors().open()
    expect(page.locator("#none")).to_contain_text("front collects events")
    expect(page.locator("#no-events")).to_contain_text("curl")
    expect(page.locator("#grid")).to_be_empty()
    expect(page.locator("#shelf li")).to_have_count(9)


def test_forms_and_topics_stand_in_their_panel_and_are_read_whole(visit: Any) -> None:
    """Nothing touches the edge of the panel, and no name is broken over two lines."""
    page = visit.open("/dashboard/service/send_mixpanel")
    calls = page.get_by_role("region", name="Call a method")
    calls.locator("summary", has_text="echo").click()
    edge = calls.bounding_box()["x"]
    for part in ("summary code", "form[data-method=echo] button", "form[data-method=echo] textarea"):
        assert calls.locator(part).first.bounding_box()["x"] >= edge + 8, part
    lines = (
        "cell => { const range = new Range(); range.selectNodeContents(cell); return range.getClientRects().length; }"
    )
    for cell in page.get_by_role("region", name="Listens to").locator(":is(th, td.mono)").all():
        assert cell.evaluate(lines) == 1, cell.inner_text()


def test_a_method_is_called_by_its_form(visit: Any) -> None:
    """Fields come from the method's types; the result stands below; what is not JSON is told before it is sent."""
    visit.expected = ("502",)
    page = visit.open("/dashboard/service/send_mixpanel")
    expect(page.get_by_role("region", name="Listens to")).to_contain_text("Send events to Mixpanel.")
    calls = page.get_by_role("region", name="Call a method")
    calls.locator("summary", has_text="echo").click()
    form = calls.locator("form[data-method=echo]")
    form.get_by_label("limit").fill("7")
    form.get_by_label("order").select_option("down")
    form.get_by_label("where").fill('{"a": [1]}')
    form.get_by_role("button", name="Call").click()
    expect(form.locator("pre")).to_contain_text('"limit": "7"')
    expect(form.locator("pre")).to_contain_text('"order": "down"')
    expect(form.locator("pre")).not_to_contain_text("deep")
    form.get_by_label("where").fill("{")
    form.get_by_role("button", name="Call").click()
    expect(page.locator("#notices")).to_contain_text("where: not valid JSON")
    form.get_by_label("where").fill("{}")
    page.route("**/call/**", lambda route: route.fulfill(status=502, json={"error": {"message": "it broke"}}))
    form.get_by_role("button", name="Call").click()
    expect(page.locator("#notices")).to_contain_text("The call failed: it broke")
    expect(form.locator("pre")).to_be_hidden()
