"""The durable stream of events: listener, consumer group, retries, dead letters.

`processor` calls the listener's function, again after a failure, and makes dead letters of what keeps failing.
`dead_letter_methods` lists, replays and deletes dead letters; `replay` delivers again what the stream still holds.
"""
