"""``python -m band`` is the command ``band``."""

from band.cli import main

raise SystemExit(main())
