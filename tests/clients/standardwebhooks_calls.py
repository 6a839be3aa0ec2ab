"""Standard Webhooks' library for Python signs a request. It fails unless the response is a success."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import requests
from standardwebhooks import Webhook

url, secret = sys.argv[1:]
now = datetime.now(tz=UTC)
sent = {"type": "Order Completed", "timestamp": (now - timedelta(minutes=1)).isoformat(), "data": {"total": 12.5}}
body = json.dumps(sent)
headers = {
    "webhook-id": "msg_1",
    "webhook-timestamp": str(int(now.timestamp())),
    "webhook-signature": Webhook(secret).sign("msg_1", now, body),
}
requests.post(f"{url}/webhooks/shop", data=body, headers=headers, timeout=10).raise_for_status()
