"""The durable stream of events: listener, consumer group, retries, dead letters.

`dead_letter_methods` lists, replays and deletes dead letters; `replay` delivers events once more that the stream still holds.
"""
