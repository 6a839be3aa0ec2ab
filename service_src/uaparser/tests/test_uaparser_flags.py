"""Device flags and the bot verdict, by example."""

import pytest

from uaparser import UaParser

parser = UaParser(cache_mb=1)

SAFARI_TAIL = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.1 Mobile/15E148 Safari/604.1"
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
DEVICES = {
    "is_mob": [
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) {SAFARI_TAIL}",
        f"Mozilla/5.0 (Linux; Android 13; SM-S901B) {WEBKIT} Chrome/112.0 Mobile Safari/537.36",
        "Dalvik/2.1.0 (Linux; U; Android 9; SM-G960F Build/PPR1.180610.011)",
        "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) AppleWebKit/537.36 Mobile Safari/537.36",
        "Nokia6230/2.0 (04.44) Profile/MIDP-2.0 Configuration/CLDC-1.1",
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows Phone OS 7.5; Trident/3.1; IEMobile/7.0; Xbox)",
    ],
    "is_tablet": [
        f"Mozilla/5.0 (iPad; CPU OS 17_1 like Mac OS X) {SAFARI_TAIL}",
        f"Mozilla/5.0 (Linux; Android 12; SM-X906C) {WEBKIT} Chrome/80.0 Mobile Safari/537.36",
        f"Mozilla/5.0 (Linux; Android 9; Some 8 inch) {WEBKIT} Chrome/80.0.3987 Safari/537.36",
    ],
    "is_pc": [
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/120.0 Safari/537.36",
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
        f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/120.0 Safari/537.36",
    ],
    "": [
        f"Mozilla/5.0 (Linux; Android 9; AFTS Build/PS7233) {WEBKIT} Chrome/70.0 Mobile Safari/537.36",
        f"Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) {WEBKIT} Version/5.0 TV Safari/537.36",
    ],
}


@pytest.mark.parametrize(("flag", "ua"), [(flag, ua) for flag, uas in DEVICES.items() for ua in uas])
def test_uaparser_one_flag_a_device(flag: str, ua: str) -> None:
    """Each device has the one flag that a person would give it; a television has none."""
    answer = parser.parse(ua)
    assert [name for name in ("is_mob", "is_tablet", "is_pc") if answer[name]] == ([flag] if flag else [])
    assert answer["is_bot"] == 0


@pytest.mark.parametrize(
    ("ua", "reason"),
    [
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "names itself a crawler"),
        ("Feedfetcher-Google; (+http://www.google.com/feedfetcher.html)", "names itself a crawler"),
        ("Scrubby/2.2 (http://www.scrubtheweb.com/)", "known crawler"),
        ("Mozilla/5.0 (compatible; BrandNewThingBot/0.1)", "names itself a crawler"),
        ("Mozilla/5.0 AppleWebKit/537.36; compatible; ChatGPT-User/1.0; +https://openai.com/x", "AI agent"),
        ("curl/8.5.0", "HTTP library"),
        ("python-requests/2.32", "HTTP library"),
        (
            f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/120.0 Safari/537.36",
            "headless browser",
        ),
        ("WhatsApp/2.23.20.0", "link preview"),
        ("MyFetch/1.0 (+https://example.com/about)", "gives a contact address"),
        ("Honeyroad Uptime/1.0", "monitoring"),
    ],
)
def test_uaparser_bots_have_a_reason(ua: str, reason: str) -> None:
    """A program is told from a person by its name or its habits, and the answer says by which."""
    answer = parser.parse(ua)
    assert answer["is_bot"] == 1
    assert answer["bot_reason"] == reason


def test_uaparser_a_phone_called_cubot_is_no_bot() -> None:
    """A maker whose name ends in "bot" does not make its owners crawlers."""
    ua = f"Mozilla/5.0 (Linux; Android 10; CUBOT_X30) {WEBKIT} Chrome/96.0 Mobile Safari/537.36"
    assert parser.parse(ua)["is_bot"] == 0
