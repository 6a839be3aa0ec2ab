"""Segment's library for Python: every call once, or many calls in some seconds. It fails if any is given up."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta

from segment.analytics import Client

url, gzip, many = sys.argv[1], sys.argv[2] == "gzip", int(sys.argv[3]) if len(sys.argv) > 3 else 0
failed: list[object] = []
client = Client(
    "any",
    host=url,
    gzip=gzip,
    max_retries=1000,
    upload_interval=0.2,
    on_error=lambda error, _items: failed.append(error),
)
if many:
    for number in range(many):
        client.track("u-1", "many", {"n": number})
        if number % 10 == 9:
            time.sleep(0.05)
else:
    minute_ago = datetime.now(tz=UTC) - timedelta(minutes=1)
    client.identify("u-1", {"plan": "pro"})
    client.track("u-1", "Order Completed", {"total": 12.5}, timestamp=minute_ago)
    client.page(None, "Docs", "Home", {"url": "https://shop.example/?a=1", "title": "Shop"}, anonymous_id="a-1")
    client.screen("u-1", None, "Settings")
    client.group("u-1", "g-1", {"seats": 3})
    client.alias("a-1", "u-1")
client.flush()
client.join()
sys.exit(f"{failed[0]}" if failed else 0)
