"""The HTTP/1.1 server: bytes to requests and responses to bytes. It knows nothing of events.

`limits` bounds connections, WebSockets and what they hold, and chooses who is closed when there is no room.
"""
