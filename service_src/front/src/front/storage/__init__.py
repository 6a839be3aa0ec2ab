"""When an event counts as stored: the Redis stream and its retention, the journal behind it, and its replay."""
