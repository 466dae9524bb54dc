"""A connection on its way to the owner: nothing that the client sends meanwhile is read here."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from dosirak.serving.handing_on import HandingOn


class Transport(asyncio.Transport):
    """Says what is done with it."""

    def __init__(self, *, tls: bool) -> None:
        super().__init__({"ssl_object": object() if tls else None})
        self.is_paused = False
        self.protocol: asyncio.BaseProtocol | None = None

    def pause_reading(self) -> None:
        self.is_paused = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return 1

    def abort(self) -> None: ...


class Channel:
    def send(self, message: Any, body: bytes = b"") -> None: ...


@pytest.mark.parametrize("tls", [False, True])
def test_reading_stops_in_the_turn_in_which_a_connection_is_handed_over(tls) -> None:
    async def main() -> Transport:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            handing_on = HandingOn(Channel(), ours)  # type: ignore[arg-type]
            transport = Transport(tls=tls)
            handing_on.hand_over(transport, b"head")
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            return transport

    transport = asyncio.run(main())
    assert transport.is_paused
    assert transport.protocol is not None
