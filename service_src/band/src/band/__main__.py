"""``python -m band``: what images run (``check``), and what ``band dev`` runs for authors."""

from band.cli import main

raise SystemExit(main())
