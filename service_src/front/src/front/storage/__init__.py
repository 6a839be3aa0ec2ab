"""When an event counts as stored: the choice between the Redis stream and the journal, retention, and replay."""
