"""front, the ingress of the platform: HTTP and WebSocket requests become enriched and stored events."""

__version__ = "0.1.0"
