"""The WebSocket protocol: handshake, frames, connections. It knows nothing of events."""
