"""When an event may be acknowledged: the Redis stream, and front's own disk behind it."""
