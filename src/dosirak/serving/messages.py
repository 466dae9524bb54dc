"""What front and worker say to each other: small msgpack structures, each with an optional body.

A frame is `header length (4) | body length (4) | header | body`, big-endian. The header is one of
the structures below; the body is a request's, an answer's or a chunk's bytes, never copied into the
header nor decoded by the front. There is no pickle and nothing a peer sends can name code to run:
anything that is not one of these structures ends the connection.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from dosirak.payload.wire import Body
from dosirak.serving.calls import ServiceDescription

MAX_HEADER_BYTES = 8 * 1024 * 1024
_PREFIX = struct.Struct(">II")

Headers: TypeAlias = tuple[tuple[str, str], ...]


class Message(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The base of every message."""


class Start(Message, frozen=True):
    """Front → worker, first: what to serve. Nothing of it is on the command line."""

    target: str
    home: str
    log_style: Literal["text", "json"]
    hang_grace_s: float


class Call(Message, frozen=True):
    """Front → worker: one request; the body is the request's, already decompressed."""

    call_id: int
    api: str
    content_type: str
    accept: str
    headers: dict[str, str]
    query: str
    method: str
    request_id: str
    deadline_s: float | None


class Cancel(Message, frozen=True):
    """Front → worker: nobody waits for this call any more."""

    call_id: int


class Credit(Message, frozen=True):
    """Front → worker: one more chunk of this stream may be sent."""

    call_id: int


class Stop(Message, frozen=True):
    """Front → worker: run the stop hooks and exit."""


class Described(Message, frozen=True):
    """Worker → front: the service was imported; loading begins."""

    service: ServiceDescription


class Ready(Message, frozen=True):
    """Worker → front: calls may come."""


class Failed(Message, frozen=True):
    """Worker → front, last: the service cannot start."""

    code: str
    message: str
    remedy: str


class Answer(Message, frozen=True):
    """Worker → front: a whole answer; the body is its body."""

    call_id: int
    status: int
    content_type: str
    headers: Headers
    queue_s: float
    compute_s: float


class StreamBegan(Message, frozen=True):
    """Worker → front: an answer that comes in chunks."""

    call_id: int
    status: int
    content_type: str
    headers: Headers
    queue_s: float
    compute_s: float


class Chunk(Message, frozen=True):
    """Worker → front: the next piece of a stream; the body is the piece."""

    call_id: int


class StreamEnded(Message, frozen=True):
    """Worker → front: the stream's end; `broken` when it is not complete."""

    call_id: int
    broken: bool


class Dropped(Message, frozen=True):
    """Worker → front: a cancelled call has ended without an answer."""

    call_id: int


class Hung(Message, frozen=True):
    """Worker → front: a handler runs long past its deadline; this worker should be replaced."""

    api: str


ToWorker: TypeAlias = Start | Call | Cancel | Credit | Stop
ToFront: TypeAlias = (
    Described | Ready | Failed | Answer | StreamBegan | Chunk | StreamEnded | Dropped | Hung
)

_encoder = msgspec.msgpack.Encoder()
to_worker_decoder = msgspec.msgpack.Decoder(ToWorker)
to_front_decoder = msgspec.msgpack.Decoder(ToFront)


class BrokenFrame(Exception):
    """The peer sent what is not a frame; the connection is of no more use."""


def encode_frame(message: Message, body: Body = b"") -> tuple[bytes, Body]:
    """Return the two parts to write: prefix with header, and the body as it is."""
    header = _encoder.encode(message)
    return _PREFIX.pack(len(header), len(body)) + header, body


class FrameReader:
    """Cuts a stream of bytes into frames.

    Args:
        max_body_bytes: a frame that announces more is broken, before its body is kept.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Add bytes and yield every complete frame as header and body.

        Raises:
            BrokenFrame: a length is impossible.
        """
        self._buffer += data
        position = 0
        try:
            while (end := self._end_of_frame(position)) is not None:
                header_at = position + _PREFIX.size
                body_at = header_at + _PREFIX.unpack_from(self._buffer, position)[0]
                position = end
                yield bytes(self._buffer[header_at:body_at]), bytes(self._buffer[body_at:end])
        finally:
            del self._buffer[:position]

    def _end_of_frame(self, position: int) -> int | None:
        if len(self._buffer) - position < _PREFIX.size:
            return None
        header_bytes, body_bytes = _PREFIX.unpack_from(self._buffer, position)
        if header_bytes > MAX_HEADER_BYTES or body_bytes > self._max_body_bytes:
            raise BrokenFrame("a length in the prefix is over the limit")
        end = position + _PREFIX.size + header_bytes + body_bytes
        return end if len(self._buffer) >= end else None
