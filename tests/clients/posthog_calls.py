"""PostHog's library for Python: every call once, or many calls in some seconds. It fails if any is given up."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta

from posthog import Posthog

url, gzip, many = sys.argv[1], sys.argv[2] == "gzip", int(sys.argv[3]) if len(sys.argv) > 3 else 0
failed: list[object] = []
client = Posthog(
    "any",
    host=url,
    gzip=gzip,
    max_retries=1000,
    flush_interval=0.2,
    on_error=lambda error, _items: failed.append(error),
)
if many:
    for number in range(many):
        client.capture("many", distinct_id="u-1", properties={"n": number})
        if number % 10 == 9:
            time.sleep(0.05)
else:
    minute_ago = datetime.now(tz=UTC) - timedelta(minutes=1)
    client.capture("Order Completed", distinct_id="u-1", properties={"total": 12.5}, timestamp=minute_ago)
    client.set(distinct_id="u-1", properties={"plan": "pro"})
    client.group_identify("company", "g-1", {"seats": 3})
    client.alias("u-1", "a-1")
client.shutdown()
sys.exit(f"{failed[0]}" if failed else 0)
