"""Tablet, phone or desktop computer: the flags that reports are cut by.

The ideas are those of the `user-agents` library (2020, no longer maintained), in our words and for today's names. Where
they differ it is on purpose: an app's `Dalvik/…` or `okhttp` line says nothing of "Mobile" and is a phone here, a
television is neither tablet nor phone, and a device is at most one of the three.

Agreement with `user-agents` 2.2.0 (`benchmarks/studies/device_flags.py`) on the 5,415 browsers' lines of our corpus:
tablet 98.7 %, phone 98.0 %, computer 99.7 %, bot 98.0 % (the rest are mostly bots that it does not know); on all
9,999 lines, many of them odd old devices, 95.5, 92.3, 99.0 and 95.3 %.
"""

import re
from enum import Enum
from functools import lru_cache

from uaparser.words import Words, split

_TABLET_FAMILIES = frozenset(
    {
        "iPad",
        "BlackBerry Playbook",
        "Blackberry Playbook",
        "Kindle",
        "Galaxy Tab",
        "Xoom",
        "Dell Streak",
        "Generic Tablet",
    }
)
_MOBILE_FAMILIES = frozenset(
    {"iPhone", "iPod", "iOS-Device", "Generic Smartphone", "Generic Feature Phone", "PlayStation Vita"}
)
_MOBILE_SYSTEMS = frozenset(
    {
        "BlackBerry OS", "Symbian OS", "Symbian^3", "Windows Phone", "Windows Mobile", "Windows CE", "Bada", "Maemo",
        "MeeGo", "KaiOS", "Firefox OS", "Tizen", "webOS", "HarmonyOS", "OpenHarmony", "Brew MP", "Nokia Series 40",
        "Nokia Series 30 Plus",
    }
)  # fmt: skip
_MOBILE_BROWSERS = frozenset(
    {
        "IE Mobile", "Opera Mobile", "Opera Mini", "Chrome Mobile", "Chrome Mobile iOS", "Chrome Mobile WebView",
        "Mobile Safari", "Mobile Safari UI/WKWebView", "Firefox Mobile", "Firefox iOS", "Samsung Internet",
        "UC Browser", "Nokia Browser", "NetFront", "BlackBerry WebKit", "BlackBerry",
    }
)  # fmt: skip
_DESKTOP_SYSTEMS = frozenset({"Windows", "Mac OS X", "Mac OS", "Chrome OS", "Solaris", "FreeBSD", "OpenBSD", "NetBSD"})
# ua-parser gives a distribution's own name where there is one.
_LINUX = re.compile(
    r"Linux|Ubuntu|Debian|Fedora|Red Hat|SUSE|CentOS|Gentoo|Mint|Mandriva|Slackware|Arch|Kubuntu|PCLinuxOS"
)

# In lower case, separated by white space; `~` is a blank.
_SILK = "silk"
_TABLET_WORDS = Words([
    *split("tablet", r"""
        ipad \btablet\b opera~tablet \bkf[a-z]{2,5}\b nexus~(?:7|9|10)\b \bpad\b mediapad matepad \bsm-[txp]\d{3}
        \bgt-(?:p\d|n51|n80) lenovo~tb \bplaybook\b hp-tablet touchpad
    """),
    *split(_SILK, "silk/"),
])  # fmt: skip
# A television, a watch, a car or a console: none of the three.
_OTHER_WORDS = Words(split("other", r"""
    smart-?tv \btv\b google~?tv android~?tv appletv \baft[a-z]\w*\b \bbravia\b hbbtv netcast roku crkey chromecast
    \bmi~?box playstation~(?:[^v]|$) \bxbox\b nintendo \bwatch\b \boculus quest~\d \btizen\b.*\btv\b
"""))  # fmt: skip
_PHONE_WORDS = Words(split("phone", r"""
    \bmobile\b \bmobi\b \bphone\b iphone ipod midp j2me cldc opera~mini opera~mobi nokiabrowser symbianos series60
    ucweb \bblackberry \bbb10\b \bpalm up\.browser \bwap(?:\d|\b) brew windows~?(?:ce|phone|mobile) iemobile
"""))  # fmt: skip


@lru_cache(maxsize=1024)
def _is_linux(system: str) -> bool:
    return _LINUX.search(system) is not None


class Kind(Enum):
    """What a person holds or sits at."""

    TABLET = "tablet"
    MOBILE = "mobile"
    PC = "pc"
    OTHER = "other"


def kind_of(ua: str, lowered: str, browser: str, system: str, device: str) -> Kind:
    """The kind of device, from the text, the same in lower case, and ua-parser's three families (`Other`: found none).

    Order matters: a television says "Android" and perhaps "Mobile", a tablet says "Safari", everything says "Linux".
    """
    if _OTHER_WORDS.find(lowered) and "IEMobile" not in ua:
        return Kind.OTHER
    if _is_tablet(ua, lowered, browser, system, device):
        return Kind.TABLET
    if _is_mobile(ua, lowered, browser, system, device):
        return Kind.MOBILE
    if system in _DESKTOP_SYSTEMS or system.startswith("Windows") or "Windows NT" in ua or _is_linux(system):
        return Kind.PC
    return Kind.OTHER


def _is_tablet(ua: str, lowered: str, browser: str, system: str, device: str) -> bool:
    if device in _TABLET_FAMILIES or device.startswith("Kindle Fire"):
        return True
    if system == "Android":
        # Google's rule for its own browsers: a phone says "Mobile", a tablet leaves it out. Apps keep no such rule.
        if _says_tablet(lowered):
            return True
        says_browser = "Safari/" in ua or "Firefox/" in ua
        return says_browser and not _PHONE_WORDS.find(lowered) and browser != "Firefox Mobile"
    if system == "Firefox OS":
        return "Mobile" not in ua
    return system.startswith("Windows RT") or (system not in _DESKTOP_SYSTEMS and _says_tablet(lowered))


def _says_tablet(lowered: str) -> bool:
    word = _TABLET_WORDS.find(lowered)
    # Amazon's browser says Mobile on its phone, and nothing on its tablets.
    return "mobile" not in lowered.partition("silk/")[2] if word == _SILK else bool(word)


def _is_mobile(ua: str, lowered: str, browser: str, system: str, device: str) -> bool:
    if device in _MOBILE_FAMILIES or system in _MOBILE_SYSTEMS or system in {"Android", "iOS"}:
        return True
    if browser in _MOBILE_BROWSERS:
        return True
    # "Windows NT … Touch" desktops never say Mobile; Macs and Linux desktops neither.
    return bool(_PHONE_WORDS.find(lowered)) and "Windows NT" not in ua
