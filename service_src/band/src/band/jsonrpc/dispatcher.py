"""Dispatches incoming messages: replies to the client, requests to the server."""

from __future__ import annotations

from band.jsonrpc import messages
from band.jsonrpc.client import RpcClient
from band.jsonrpc.instances import CHANNEL, Presence
from band.jsonrpc.server import RpcServer
from band.telemetry.logs import logger


class Dispatcher:
    """Decodes the messages of a service and passes each to the client or the server."""

    def __init__(self, client: RpcClient, server: RpcServer, presence: Presence) -> None:
        self._client = client
        self._server = server
        self._presence = presence
        self.malformed = 0

    def on_message(self, channel: str, data: bytes) -> None:
        """Process one message. No contents can stop the reader; of a batch, valid messages are processed."""
        if channel == CHANNEL:
            self._presence.on_change(data)
            return
        for envelope in messages.decode_all(data):
            try:
                if isinstance(envelope, Exception):
                    self._on_malformed(channel, envelope, len(data))
                elif envelope.is_reply:
                    self._client.take_reply(envelope)
                else:
                    self._server.on_request(channel, envelope, data)
            except Exception as error:  # noqa: BLE001 - other messages of the batch are unaffected
                self._on_malformed(channel, error, len(data))

    def _on_malformed(self, channel: str, error: Exception, size: int) -> None:
        self.malformed += 1
        if self.malformed <= 5 or self.malformed % 1000 == 0:
            logger.warning("rpc_malformed", channel=channel, reason=str(error), bytes=size, count=self.malformed)
