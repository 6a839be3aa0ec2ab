"""The HTTP/1.1 server: bytes to requests and responses to bytes. It knows nothing of events."""
