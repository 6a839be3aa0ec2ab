"""Front: the door of the platform. HTTP and WebSocket requests become enriched, accepted, answered events."""

__version__ = "0.1.0"
