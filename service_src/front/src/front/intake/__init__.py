"""From what a client sends to an event, and from the event's reply back to the client: HTTP and WebSocket.

`http` and `websocket` are the two ways in, `context` is what they share. `door` decides who may send events, by the key
that `keys` finds; `admission` bounds the memory of large events.
"""
