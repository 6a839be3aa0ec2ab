"""The journal on front's own disk: append-only segments of events, with checksums."""
