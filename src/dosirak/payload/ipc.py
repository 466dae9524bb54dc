"""The framing of an Arrow IPC stream, read only to find compressed record batches.

Arrow decompresses while it reads, into whatever size each buffer declares, and offers no switch to
refuse that. The `compression` field of a record batch is looked up in its flatbuffer instead; bytes
that do not follow the format are left for Arrow to refuse.

    0xFFFFFFFF  metadata size  metadata (flatbuffer Message)  body …
"""

from __future__ import annotations

import struct

from dosirak.payload.problems import Problem

_CONTINUATION = b"\xff\xff\xff\xff"
_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2
# Slots of the tables in Arrow's Message.fbs.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_BATCH_COMPRESSION, _DICTIONARY_DATA = 3, 1


def refuse_compressed(body: memoryview) -> None:
    """Refuse a stream with a compressed batch.

    Raises:
        Problem: there is one, or the framing is broken.
    """
    position = 0
    try:
        while position + 8 <= len(body):
            position = _next_message(body, position)
    except (struct.error, IndexError) as error:
        raise Problem("the body is not an Arrow stream that can be read") from error


def _next_message(body: memoryview, position: int) -> int:
    """Check one message; return where the next begins."""
    # Streams from before Arrow 0.15 have no continuation marker.
    if bytes(body[position : position + 4]) == _CONTINUATION:
        position += 4
    (size,) = struct.unpack_from("<i", body, position)
    position += 4
    if size == 0:
        return len(body)
    if size < 0 or position + size > len(body):
        raise Problem("the body is not an Arrow stream that can be read")
    message = _Table.root(body[position : position + size])
    kind = message.scalar(_HEADER_TYPE, "<B")
    batch = message.table(_HEADER) if kind in (_RECORD_BATCH, _DICTIONARY_BATCH) else None
    if batch is not None and kind == _DICTIONARY_BATCH:
        batch = batch.table(_DICTIONARY_DATA)
    if batch is not None and batch.field(_BATCH_COMPRESSION) is not None:
        raise Problem("compressed Arrow streams are not accepted; use Content-Encoding")
    length = message.scalar(_BODY_LENGTH, "<q")
    if length < 0:
        raise Problem("the body is not an Arrow stream that can be read")
    return position + size + length


class _Table:
    """A flatbuffer table: a vtable says where each slot is, if it is there."""

    def __init__(self, data: memoryview, position: int) -> None:
        self._data = data
        self._position = position

    @classmethod
    def root(cls, data: memoryview) -> _Table:
        (offset,) = struct.unpack_from("<I", data, 0)
        return cls(data, offset)

    def field(self, slot: int) -> int | None:
        """Return where a slot's value is, or None where it is absent."""
        (to_vtable,) = struct.unpack_from("<i", self._data, self._position)
        vtable = self._position - to_vtable
        if vtable < 0:
            raise IndexError
        (size,) = struct.unpack_from("<H", self._data, vtable)
        if 4 + 2 * slot + 2 > size:
            return None
        (offset,) = struct.unpack_from("<H", self._data, vtable + 4 + 2 * slot)
        return self._position + offset if offset else None

    def scalar(self, slot: int, layout: str) -> int:
        """Return a number; 0 where it is absent."""
        place = self.field(slot)
        return 0 if place is None else struct.unpack_from(layout, self._data, place)[0]

    def table(self, slot: int) -> _Table | None:
        """Return a nested table."""
        place = self.field(slot)
        if place is None:
            return None
        (offset,) = struct.unpack_from("<I", self._data, place)
        return _Table(self._data, place + offset)
