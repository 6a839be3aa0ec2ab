"""The page at `/`: rendered on the server, kept fresh over a WebSocket, readable without JavaScript."""
