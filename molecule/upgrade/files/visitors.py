"""Sends some events a second until told to stop, then tells which were accepted, and the longest time without one."""  # noqa: INP001

import contextlib
import json
import sys
import time
import urllib.request
from pathlib import Path

told = Path(sys.argv[1])
running, stop = told.with_suffix(".running"), told.with_suffix(".stop")
running.touch()
accepted, last, longest = [], time.monotonic(), 0.0
while not stop.exists():
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request("http://127.0.0.1:10001/track/upgrade.json", b'{"plan": "pro"}', headers)
    with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - of this host
        accepted.append(json.load(answer)["id"])
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    time.sleep(0.2)
told.write_text(json.dumps({"accepted": accepted, "longest_gap": max(longest, time.monotonic() - last)}))
running.unlink()
