"""A WebSocket's connection: uvicorn's, which keeps who the client is said to be.

Loaded when the first one is opened: a server without them never imports the library.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import SecurityError
from websockets.http11 import MAX_LINE_LENGTH, MAX_NUM_HEADERS

from dosirak.errors import HeadTooLarge, RequestError
from dosirak.serving.http.refusals import written


class SocketConnection(WebSocketsSansIOProtocol):
    """One WebSocket.

    Args:
        client: who opened it; the transport may be one of another process of this server.
        scheme: how it came.
    """

    def __init__(self, *arguments: Any, client: Any, scheme: str, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._said_client = client
        self._is_secure = scheme in ("https", "wss")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (uvicorn calls this)."""
        super().connection_made(transport)
        self.client = self._said_client
        self.scheme = "wss" if self._is_secure else "ws"

    def data_received(self, data: bytes) -> None:
        """Take bytes (asyncio calls this); refuse a head that the library cannot read."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # Uvicorn would say nothing, and leave the connection open for as long as it lasts.
            self.transport.write(written(_unread(self.conn.handshake_exc)))
            self.transport.close()


def _unread(error: Exception) -> RequestError:
    if isinstance(error, SecurityError):  # What the library calls a line or a head without end.
        return HeadTooLarge(
            f"The head that opens a WebSocket has a line over {MAX_LINE_LENGTH} bytes, or over"
            f" {MAX_NUM_HEADERS} headers.",
            remedy="Send fewer and shorter headers, and a shorter query.",
        )
    return RequestError(
        "The head that opens a WebSocket cannot be read.", remedy="Open it with a client for them."
    )


def socket_connections(client: Any, scheme: str) -> Any:
    """Return what makes the protocol of a connection, as uvicorn asks for it."""
    return partial(SocketConnection, client=client, scheme=scheme)
