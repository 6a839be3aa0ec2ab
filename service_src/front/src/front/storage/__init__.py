"""When an event counts as stored: the choice between the Redis stream and the journal, retention, and replay.

`journal_acceptor` decides where an event goes: to Redis, which `stream_acceptor` writes, or to the disk (`journal`).
`replay` brings the journal's events into the stream, `recovery` those that Redis confirmed and lost.
"""
