"""Mixpanel's library for Python: every call once, or many calls in some seconds. It fails if any is given up.

The library raises an exception for a request that failed; of many calls, this program makes those again. `alias` is not
called: the library always sends it to Mixpanel itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from mixpanel import BufferedConsumer, Consumer, Mixpanel, MixpanelException

url, kind, many = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0
urls = [f"{url}/{endpoint}" for endpoint in ("track", "engage", "import")]
if kind == "buffered":
    consumer: Any = BufferedConsumer(20, *urls, groups_url=f"{url}/groups")
else:
    consumer = Consumer(*urls, groups_url=f"{url}/groups")
client = Mixpanel("any", consumer)


def until_sent(call: Callable[..., Any], *words: Any) -> None:
    """Call until no exception is raised."""
    while True:
        try:
            call(*words)
        except MixpanelException:
            time.sleep(0.2)
        else:
            return


def every_call() -> None:
    client.track("u-1", "Order Completed", {"total": 12.5, "time": time.time() - 60, "$insert_id": "i-1"})
    client.import_data("any", "u-1", "Imported", time.time() - 60, {"a": 1})
    client.merge("any", "u-1", "a-1")
    client.people_set("u-1", {"plan": "pro"}, {"$ip": "2.125.160.216"})
    client.people_set_once("u-1", {"first": "a"})
    client.people_increment("u-1", {"n": 2})
    client.people_append("u-1", {"list": "a"})
    client.people_union("u-1", {"list": ["b"]})
    client.people_remove("u-1", {"list": "a"})
    client.people_unset("u-1", ["first"])
    client.people_track_charge("u-1", 3)
    client.people_clear_charges("u-1")
    client.people_delete("u-2")
    client.group_set("company", "g-1", {"seats": 3})
    client.group_set_once("company", "g-1", {"first": "a"})
    client.group_union("company", "g-1", {"list": ["a"]})
    client.group_remove("company", "g-1", {"list": "a"})
    client.group_unset("company", "g-1", ["first"])
    client.group_delete("company", "g-2")


for number in range(many):
    if kind == "buffered":
        try:
            client.track("u-1", "many", {"n": number})
        except MixpanelException:
            time.sleep(0.2)  # the call is in the buffer
    else:
        until_sent(client.track, "u-1", "many", {"n": number, "$insert_id": f"i-{number}"})
    if number % 10 == 9:
        time.sleep(0.05)
if not many:
    every_call()
if kind == "buffered":
    until_sent(consumer.flush) if many else consumer.flush()
