"""A WebSocket's connection: uvicorn's, which keeps who the client is said to be.

Loaded when the first one is opened: a server without them never imports the library.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


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


def socket_connections(client: Any, scheme: str) -> Any:
    """Return what makes the protocol of a connection, as uvicorn asks for it."""
    return partial(SocketConnection, client=client, scheme=scheme)
