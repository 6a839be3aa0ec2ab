"""The durable stream of events: listener, consumer group, retries, dead letters."""
