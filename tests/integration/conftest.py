"""For the tests of this folder: modules beside them, of tests/ and of benchmarks/support/ can be imported."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "benchmarks" / "support")]
