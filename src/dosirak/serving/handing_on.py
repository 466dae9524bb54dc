"""An acceptor's connections that are not plain: they go to the owner, and are served there.

Without TLS the socket itself goes; the acceptor has nothing more to do with it. With TLS the
acceptor goes on speaking it, and the owner gets one end of a pair of sockets for what is inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from typing import Any, cast

from dosirak.serving.channel import Channel
from dosirak.serving.descriptors import Scarcity
from dosirak.serving.forwarding import Adopt
from dosirak.serving.http2 import has_chosen_http2

# Descriptors that the owner has not taken fill the socket; then it is tried again.
_AGAIN_S = 0.005


class HandingOn:
    """Gives connections to the owner.

    Args:
        channel: to the owner.
        adoption: the socket for descriptors (SOCK_SEQPACKET), which does not block.
    """

    def __init__(self, channel: Channel[Any], adoption: socket.socket) -> None:
        self._channel = channel
        self._adoption = adoption
        self._waiting: deque[tuple[socket.socket, Adopt, bytes]] = deque()
        self._moving: set[asyncio.Task[None]] = set()
        self._relaying: set[asyncio.Task[None]] = set()
        self._scarcity = Scarcity()

    @property
    def is_moving(self) -> bool:
        """Whether any connection is on its way."""
        return bool(self._waiting or self._moving)

    @property
    def is_relaying(self) -> bool:
        """Whether TLS is spoken for the owner."""
        return bool(self._relaying)

    def hand_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """Give a connection to the owner; `data` came first over it."""
        tls = transport.get_extra_info("ssl_object") is not None
        leaving = _Leaving()
        # At once, and not when the task begins: the same turn may read more.
        transport.pause_reading()
        transport.set_protocol(leaving)
        work = self._relay(transport, data) if tls else self._move(transport, data, leaving)
        kept = self._relaying if tls else self._moving
        task = asyncio.get_running_loop().create_task(work)
        kept.add(task)
        task.add_done_callback(kept.discard)

    async def _move(self, transport: asyncio.Transport, data: bytes, leaving: _Leaving) -> None:
        # An answer that is still being written is this process's to write.
        while transport.get_write_buffer_size() and not leaving.gone.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(leaving.gone.wait(), _AGAIN_S)
        if not leaving.gone.is_set():
            own: socket.socket = transport.get_extra_info("socket")
            try:
                self._send(_duplicate(own), Adopt(None, http2=False), data)
            except OSError as error:
                self._note(error)
        transport.abort()

    async def _relay(self, transport: asyncio.Transport, data: bytes) -> None:
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._note(error)
            transport.abort()
            return
        peer = transport.get_extra_info("peername")
        client = (str(peer[0]), int(peer[1])) if peer else ("", 0)
        self._send(theirs, Adopt(client, has_chosen_http2(transport)), data)
        ours.setblocking(False)
        outside, inside = _Side(), _Side()
        outside.other, inside.other = inside, outside
        outside.connection_made(transport)
        transport.set_protocol(outside)
        await asyncio.get_running_loop().create_unix_connection(lambda: inside, sock=ours)
        if not transport.is_closing():
            transport.resume_reading()
        await outside.gone.wait()
        await inside.gone.wait()

    def _note(self, error: OSError) -> None:
        self._scarcity.note(
            f"A connection could not be handed on and was closed ({error.strerror})"
        )

    def _send(self, connection: socket.socket, adopt: Adopt, data: bytes) -> None:
        self._waiting.append((connection, adopt, data))
        if len(self._waiting) == 1:
            self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting:
            connection, adopt, data = self._waiting[0]
            try:
                socket.send_fds(self._adoption, [b"\0"], [connection.fileno()])
            except BlockingIOError:
                asyncio.get_running_loop().call_later(_AGAIN_S, self._send_waiting)
                return
            except OSError:
                adopt = None  # The owner is gone, or there are too many: the client is told so.
            self._waiting.popleft()
            connection.close()
            if adopt is not None:
                self._channel.send(adopt, data)


class _Leaving(asyncio.Protocol):
    """A connection that is about to go."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so (asyncio calls this)."""
        self.gone.set()


class _Side(asyncio.Protocol):
    """One of two connections, what comes over which goes out over the other."""

    other: _Side

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on (asyncio calls this)."""
        if self.other._transport is not None:
            self.other._transport.write(data)

    def pause_writing(self) -> None:
        """Read no more from the other side (asyncio calls this)."""
        if self.other._transport is not None and not self.other._transport.is_closing():
            self.other._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on from the other side (asyncio calls this)."""
        if self.other._transport is not None and not self.other._transport.is_closing():
            self.other._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the other side, after what it has to write (asyncio calls this)."""
        self.gone.set()
        other = self.other._transport
        if other is None:
            self.other.gone.set()
        elif exc is not None:
            other.abort()
        else:
            other.close()


def _duplicate(own: socket.socket) -> socket.socket:
    # The transport's own descriptor ends with it.
    return socket.fromfd(own.fileno(), socket.AF_UNIX, socket.SOCK_STREAM)
