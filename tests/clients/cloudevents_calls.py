"""CloudEvents' library for Python: an event in each mode. It fails unless each response is a success."""

from __future__ import annotations

import sys

import requests
from cloudevents.v1.conversion import to_binary, to_structured
from cloudevents.v1.http import CloudEvent

for number, form in enumerate((to_binary, to_structured), 1):
    attributes = {"id": str(number), "source": "https://shop.example", "type": "com.example.order", "region": "eu"}
    headers, body = form(CloudEvent(attributes, {"total": 12.5}))
    requests.post(f"{sys.argv[1]}/cloudevents", headers=headers, data=body, timeout=10).raise_for_status()
