"""Stands where ansible-test keeps the pip bootstrap that it would download: brings the pip that Python carries."""

from __future__ import annotations

import ensurepip
import subprocess
import sys

ensurepip.bootstrap()
WANTED = [word for word in sys.argv[1:] if not word.startswith(("-", "pip"))]
if WANTED:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    sys.exit(subprocess.call([*pip, *WANTED]))
