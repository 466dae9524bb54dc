"""Answers that come piece by piece: written on the server, read back by the client.

    text/event-stream     data: <json>⏎⏎ …   event: error⏎data: <error>⏎⏎   event: end⏎data: {}⏎⏎
    application/x-ndjson  <json>⏎ …          {"error": …, "code": …}⏎
    raw                   bytes as they are  (an error breaks the connection)

An event stream says when it is complete; in the others the transport does. Half an answer is never
taken for a whole one: a reader that meets the end too early raises.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import msgspec

from dosirak.errors import DosirakError, FieldProblem, RemoteError, ServiceError
from dosirak.payload.leaf import Written
from dosirak.payload.media import EVENT_STREAM, NDJSON

_END = b"event: end\ndata: {}\n\n"
_MAX_BUFFERED_BYTES = 256 * 1024 * 1024

Items = AsyncIterator[Any] | Iterator[Any]
ItemWriter = Callable[[Any], Written]
ErrorWriter = Callable[[DosirakError], bytes]


def encode_items(
    items: Items, media_type: str, write: ItemWriter, write_error: ErrorWriter
) -> AsyncIterator[bytes]:
    """Return the encoded pieces of a stream.

    A plain iterator is advanced where the pieces are awaited: whoever runs a blocking generator
    gives its items as an async iterator.
    """
    pieces = _pieces(items, _FRAMES.get(media_type, bytes), write)
    if media_type not in _FRAMES:
        return pieces
    frame_error = _event_error if media_type == EVENT_STREAM else _line
    end = _END if media_type == EVENT_STREAM else b""
    return _guarded(pieces, end, lambda error: frame_error(write_error(error)))


def _event(body: bytes) -> bytes:
    return b"data: " + body + b"\n\n"


def _event_error(body: bytes) -> bytes:
    return b"event: error\ndata: " + body + b"\n\n"


def _line(body: bytes) -> bytes:
    return body + b"\n"


_FRAMES: dict[str, Callable[[bytes], bytes]] = {EVENT_STREAM: _event, NDJSON: _line}


async def _pieces(
    items: Items, frame: Callable[[bytes], bytes], write: ItemWriter
) -> AsyncIterator[bytes]:
    try:
        if isinstance(items, AsyncIterator):
            async for item in items:
                yield frame(write(item).body)
        else:
            for item in items:
                yield frame(write(item).body)
    finally:
        await _close(items)


async def _close(items: Items) -> None:
    """Let a generator run its `finally` when the caller has gone away."""
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()
    elif hasattr(items, "close"):
        items.close()  # type: ignore[union-attr]


async def _guarded(
    pieces: AsyncIterator[bytes], end: bytes, frame_error: Callable[[DosirakError], bytes]
) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            yield piece
    except DosirakError as error:
        yield frame_error(error)
        return
    except Exception:
        # What user code raised stays in the log, which the dataplane writes as it feeds `items`.
        yield frame_error(
            ServiceError("The service failed while it was answering.", remedy="See its log.")
        )
        return
    finally:
        await pieces.aclose()  # type: ignore[attr-defined]
    if end:
        yield end


class StreamReader:
    """Turns the chunks of a stream, cut anywhere, back into items; does no input or output.

    Args:
        media_type: of the response.
        read_item: decodes one item's JSON.
    """

    def __init__(self, media_type: str, read_item: Callable[[bytes], Any]) -> None:
        self._media_type = media_type
        self._read_item = read_item
        self._buffer = bytearray()
        self._ended = False

    def feed(self, chunk: bytes) -> list[Any]:
        """Return the items that this chunk completes.

        Raises:
            RemoteError: the server reported an error, or what came is no stream.
        """
        if self._media_type not in _FRAMES:
            return [chunk] if chunk else []
        self._buffer += chunk
        if len(self._buffer) > _MAX_BUFFERED_BYTES:
            raise RemoteError("An item of the stream is too large.", remedy="Send smaller items.")
        if self._media_type == EVENT_STREAM:
            blocks = bytes(self._buffer.replace(b"\r\n", b"\n")).split(b"\n\n")
        else:
            blocks = bytes(self._buffer).split(b"\n")
        self._buffer = bytearray(blocks.pop())
        read = self._read_event if self._media_type == EVENT_STREAM else self._read_line
        return [item for block in blocks if block.strip() for item in read(block)]

    def finish(self) -> None:
        """Say that no chunk will follow.

        Raises:
            RemoteError: the stream is not complete.
        """
        incomplete = self._media_type == EVENT_STREAM and not self._ended
        if incomplete or self._buffer.strip():
            raise RemoteError(
                "The stream ended before the service had finished.",
                remedy="Call again; the answer so far is not whole.",
            )

    def _read_event(self, block: bytes) -> Iterable[Any]:
        kind, data = b"message", list[bytes]()
        for line in block.split(b"\n"):
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"event":
                kind = value
            elif name == b"data":
                data.append(value)
        if kind == b"end":
            self._ended = True
        elif kind == b"error":
            raise remote_error(b"\n".join(data))
        elif data:
            yield self._read_item(b"\n".join(data))

    def _read_line(self, line: bytes) -> Iterable[Any]:
        if line.startswith(b'{"error":') and b'"code":' in line and b'"request_id":' in line:
            raise remote_error(line)
        yield self._read_item(line)


class _ErrorBody(msgspec.Struct):
    error: str = "The service reported an error."
    code: str = ""
    remedy: str = ""
    fields: list[dict[str, str]] = []
    request_id: str = ""


def remote_error(body: bytes, status: int = 200) -> RemoteError:
    """Return the error for an error body, whatever it holds."""
    try:
        said = msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        said = _ErrorBody()
    return RemoteError(
        said.error,
        remedy=said.remedy,
        fields=[FieldProblem(f.get("field", ""), f.get("reason", "")) for f in said.fields],
        status=status,
        remote_code=said.code,
        request_id=said.request_id,
    )
