"""`python -m band_cli` is the command `band`."""

from band_cli.cli import main

raise SystemExit(main())
