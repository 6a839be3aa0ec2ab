"""From what a client sends to an event, and from the event's reply back to the client: HTTP and WebSocket."""
