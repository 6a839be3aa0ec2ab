"""Front, the ingress of the platform: HTTP and WebSocket requests become enriched, stored and answered events."""

__version__ = "0.1.0"
