"""One end of the socket between front and worker: messages in, messages out, backpressure.

A socketpair made by the front and inherited by the worker: it has no path, so no other user can
reach it. Bytes that are not a frame, or a frame that is not a message, close it. Bodies of some
size go beside it, in shared memory, where both ends have the means.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import msgspec

from dosirak.payload.wire import Body
from dosirak.serving.messages import (
    MAX_HEADER_BYTES,
    BrokenFrame,
    FrameReader,
    Message,
    encode_batch_frame,
    encode_frame,
    encode_header,
    shared_frame,
)
from dosirak.serving.shared_bodies import SHARED_BYTES, SharedBodies

MessageT = TypeVar("MessageT")
# Up to this much is written in one piece: a copy costs less than another system call.
_JOINED_BYTES = 128 * 1024


class Channel(asyncio.Protocol, Generic[MessageT]):
    """Reads messages of one type and writes any.

    Args:
        decoder: reads the messages that the peer may send.
        on_message: called with each message and its body, on the loop.
        on_closed: called once when the peer is gone, or spoke what is not a message.
        max_body_bytes: largest body that the peer may send.
    """

    def __init__(
        self,
        decoder: msgspec.msgpack.Decoder[MessageT],
        on_message: Callable[[MessageT, Body], None],
        on_closed: Callable[[], None],
        *,
        max_body_bytes: int,
    ) -> None:
        self._decoder = decoder
        self._on_message = on_message
        self._on_closed = on_closed
        self._max_body_bytes = max_body_bytes
        self._frames = FrameReader(max_body_bytes)
        self._shared: SharedBodies | None = None
        self._transport: asyncio.Transport | None = None

    async def open(self, end: socket.socket) -> None:
        """Speak over this end of a connected socket."""
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self, sock=end)

    def share(self, shared: SharedBodies | None) -> None:
        """Send large bodies in shared memory from now on, and take them; call it before `open`."""
        self._shared = shared
        if shared is not None:
            self._frames = FrameReader(self._max_body_bytes, shared.take, shared.hear)

    def send(self, message: Message, body: Body = b"") -> None:
        """Write a message; nothing happens once the peer is gone."""
        if self._transport is None or self._transport.is_closing():
            return
        if len(body) >= SHARED_BYTES and self._sent_shared(message, (body,), len(body)):
            return
        head, body = encode_frame(message, body)
        self._transport.write(head)
        if body:
            self._transport.write(body)

    def send_batch(self, message: Message, bodies: Sequence[Body], body_bytes: int) -> bool:
        """Write a message with many bodies; large ones are not copied together.

        Returns:
            False, with nothing written, when its header is larger than the peer takes: send less
            at once.
        """
        if self._transport is None or self._transport.is_closing():
            return True
        if body_bytes >= SHARED_BYTES and self._sent_shared(message, bodies, body_bytes):
            return True
        parts = encode_batch_frame(message, bodies, body_bytes)
        if len(parts[1]) > MAX_HEADER_BYTES:
            return False
        if body_bytes <= _JOINED_BYTES:
            self._transport.write(b"".join(parts))
        else:
            self._transport.writelines(parts)
        return True

    def close(self) -> None:
        """Send what is waiting, then close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once: nobody reads what is waiting."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read messages (asyncio calls this)."""
        try:
            for header, body in self._frames.feed(data):
                self._on_message(self._decoder.decode(header), body)
        except (BrokenFrame, msgspec.DecodeError):
            cast(Any, self._transport).abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that the peer is gone (asyncio calls this)."""
        if self._shared is not None:
            self._shared.close()
        self._on_closed()

    def _sent_shared(self, message: Message, bodies: Sequence[Body], body_bytes: int) -> bool:
        """Put bodies into shared memory and write the message; whether it could be done."""
        if self._shared is None:
            return False
        header = encode_header(message)
        if len(header) > MAX_HEADER_BYTES:
            return False
        segment = self._shared.put(bodies, body_bytes)
        if segment is None:
            return False
        frame = shared_frame(header, segment, body_bytes)
        cast(asyncio.Transport, self._transport).write(frame)
        return True
