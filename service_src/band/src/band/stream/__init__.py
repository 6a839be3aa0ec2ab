"""The durable stream of events: listener, consumer group, retries, dead letters.

`dead_letter_methods` lists, replays and deletes dead letters; `replay` delivers again what the stream still holds.
"""
