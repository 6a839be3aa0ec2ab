"""From a User-Agent to the finished answer, and the cache of finished answers."""

from typing import Any

import msgspec
from ua_parser.caching import S3Fifo
from ua_parser.loaders import load_lazy_builtins
from ua_parser.regex import Resolver

from band.platform import decode_loosely, encode
from uaparser.bots import bot_reason
from uaparser.device import Kind, kind_of
from uaparser.hints import Hints, changes
from uaparser.versions import version

Answer = dict[str, Any]

MAX_UA_LENGTH = 1024
"""Characters that are looked at. The longest honest ones have about 400; some rules' time grows with the length."""

BYTES_AN_ENTRY = 800
"""What a cached answer takes with its key: 690 bytes measured over 20,000 distinct lines, and the allocator's slack."""

_OTHER = "Other"


class UaParser:
    """Parses User-Agents, and remembers answers in an S3-FIFO cache of about `cache_mb` megabytes.

    S3-FIFO because most of a day's distinct lines come once: they leave by a small queue and push out nothing.
    Answers are kept as the JSON that leaves: a third of the memory of a dict, and nothing to write for each event.
    """

    def __init__(self, cache_mb: float = 32) -> None:
        self.capacity = max(16, int(cache_mb * 1_000_000 / BYTES_AN_ENTRY))
        self.parsed = 0
        # Written for the library's own partial results, by texts; any key and value do.
        self._cache: Any = S3Fifo(self.capacity)
        # Its engines are asked directly: what the library wraps around their answers takes as long as one of them.
        engines = Resolver(load_lazy_builtins())
        self._browsers, self._systems, self._devices = engines.ua, engines.os, engines.de

    def answer(self, ua: str, hints: Hints | None = None) -> msgspec.Raw:
        """The answer for one User-Agent, corrected by what the browser says in client hints, as JSON. Never raises.

        Only the first 1,024 characters count.
        """
        if len(ua) > MAX_UA_LENGTH:
            ua = ua[:MAX_UA_LENGTH]
        key = ua if hints is None else (ua, hints)
        found: msgspec.Raw | None = self._cache[key]
        if found is None:
            said = self._parse(ua) if hints is None else self.parse_with_hints(ua, hints)
            found = self._cache[key] = msgspec.Raw(encode(said))
        return found

    def parse(self, ua: str) -> Answer:
        """The answer for one User-Agent; never raises."""
        answer: Answer = decode_loosely(self.answer(ua))
        return answer

    def parse_with_hints(self, ua: str, hints: Hints) -> Answer:
        """The same, corrected by what the browser says in client hints; never raises."""
        said = self.parse(ua)
        flags = (said["is_tablet"], said["is_mob"], said["is_pc"])
        return {**said, **changes(hints, said["os_family"], said["browser_family"], flags)}

    def cached(self) -> int:
        """How many answers the cache holds now."""
        return len(self._cache.small) + len(self._cache.main)

    def _parse(self, ua: str) -> Answer:
        self.parsed += 1
        # A lone surrogate (half of an emoji, cut by someone) has no UTF-8 form and the Rust engine wants UTF-8.
        clean = ua.encode("utf-8", "replace").decode("utf-8")
        system, browser, device = (
            self._systems.extract(clean),
            self._browsers.extract(clean),
            self._devices.extract(clean),
        )
        system_family = system.family if system else _OTHER
        browser_family = browser.family if browser else _OTHER
        device_family = device.family if device else _OTHER
        lowered = clean.lower()
        kind = kind_of(clean, lowered, browser_family, system_family, device_family)
        reason = bot_reason(lowered, device_family)
        return {
            "os_family": system_family,
            "os_version": version(system.major, system.minor, system.patch) if system else [],
            "browser_family": browser_family,
            "browser_version": version(browser.major, browser.minor, browser.patch) if browser else [],
            "device_family": device_family,
            "device_brand": device.brand if device else None,
            "device_model": device.model if device else None,
            "is_bot": int(bool(reason)),
            "is_tables": int(kind is Kind.TABLET),
            "is_mob": int(kind is Kind.MOBILE),
            "is_pc": int(kind is Kind.PC),
            "is_tablet": int(kind is Kind.TABLET),
            "bot_reason": reason or None,
        }
