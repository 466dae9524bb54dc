"""Answers that come piece by piece: written on the server, read back by the client.

    text/event-stream     data: <json>⏎⏎ …   event: error⏎data: <error>⏎⏎   event: end⏎data: {}⏎⏎
    application/x-ndjson  <json>⏎ …          {"$error": <error>}⏎
    raw                   bytes as they are  (an error breaks the connection)

An event stream says when it is complete; in the others the transport does. Half an answer is never
taken for a whole one: a reader that meets the end too early raises. Nor is an error taken for an
item: no line is written for an item whose first key is `$error`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import msgspec

from dosirak.errors import (
    DosirakError,
    FieldProblem,
    RemoteError,
    ResultError,
    ServiceError,
)
from dosirak.payload.leaf import Written
from dosirak.payload.media import EVENT_STREAM, NDJSON

_END = b"event: end\ndata: {}\n\n"
_ERROR_LINE = b'{"$error":'
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
    frame_error = _event_error if media_type == EVENT_STREAM else _line_error
    end = _END if media_type == EVENT_STREAM else b""
    return _guarded(pieces, end, lambda error: frame_error(write_error(error)))


def error_piece(media_type: str, body: bytes) -> bytes | None:
    """Return the last piece of a stream that an error ends; None where the form has none.

    Args:
        media_type: of the stream.
        body: the error, as JSON.
    """
    if media_type == EVENT_STREAM:
        return _event_error(body)
    return _line_error(body) if media_type == NDJSON else None


def _event(body: bytes) -> bytes:
    return b"data: " + body + b"\n\n"


def _event_error(body: bytes) -> bytes:
    return b"event: error\ndata: " + body + b"\n\n"


def _line(body: bytes) -> bytes:
    if body.startswith(_ERROR_LINE):
        raise ResultError(
            "An item's first key is '$error', which marks an error in a stream of lines.",
            remedy="Name the key otherwise, or ask for text/event-stream.",
        )
    return body + b"\n"


def _line_error(body: bytes) -> bytes:
    return _ERROR_LINE + body + b"}\n"


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
        self._take_line = self._add_to_event if media_type == EVENT_STREAM else self._read_line
        # The line under way, the event under way, and the bytes of both: looked at once each.
        self._line: list[bytes] = []
        self._event: list[bytes] = []
        self._held_bytes = 0
        self._ended = False

    def feed(self, chunk: bytes) -> Iterator[Any]:
        """Yield the items that this chunk completes; to be read to its end.

        Raises:
            RemoteError: the server reported an error, or what came is no stream.
        """
        if self._media_type not in _FRAMES:
            if chunk:
                yield chunk
            return
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._hold(end)
            line = b"".join(self._line)
            self._line.clear()
            yield from self._take_line(line)
        self._hold(rest)

    def finish(self) -> None:
        """Say that no chunk will follow.

        Raises:
            RemoteError: the stream is not complete.
        """
        incomplete = self._media_type == EVENT_STREAM and not self._ended
        if incomplete or self._event or b"".join(self._line).strip():
            raise RemoteError(
                "The stream ended before the service had finished.",
                remedy="Call again; the answer so far is not whole.",
            )

    def _hold(self, piece: bytes) -> None:
        self._held_bytes += len(piece)
        if self._held_bytes > _MAX_BUFFERED_BYTES:
            raise RemoteError("An item of the stream is too large.", remedy="Send smaller items.")
        self._line.append(piece)

    def _add_to_event(self, line: bytes) -> Iterable[Any]:
        """Keep a line of an event; an empty one ends it."""
        if line := line.removesuffix(b"\r"):
            self._event.append(line)
            return
        event, self._event, self._held_bytes = self._event, [], 0
        yield from self._read_event(event)

    def _read_event(self, lines: list[bytes]) -> Iterable[Any]:
        kind, data = b"message", list[bytes]()
        for line in lines:
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
        self._held_bytes = 0
        if not line.strip():
            return
        if line.startswith(_ERROR_LINE):
            raise remote_error(line.rstrip().removeprefix(_ERROR_LINE).removesuffix(b"}"))
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
