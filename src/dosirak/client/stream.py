"""A stream's items, from the pieces in which they arrive. Pure.

A stream ends in one of three ways: its end mark (or, where the media type has none, the end of the
HTTP message), an error event, or by breaking off. Only the first is quiet; half a stream is never
taken for a whole one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dosirak.client.answer import error_of_event, unreadable
from dosirak.client.exchange import TRANSPORT_ERRORS
from dosirak.client.failure import failure_of_exception
from dosirak.client.framing import EventFramer, Frame, Framer, LineFramer, RawFramer
from dosirak.client.schema import RemoteApi
from dosirak.errors import DosirakError, Unavailable

_END = "end"
_ERROR = "error"


@dataclass(slots=True)
class StreamReader:
    """Reads one stream. Use: `push` each piece, then `finish`."""

    api: RemoteApi
    content_type: str
    url: str
    framer: Framer
    ended: bool = False

    @classmethod
    def of(cls, api: RemoteApi, content_type: str, *, url: str) -> StreamReader:
        """Return a reader for a stream of this content type."""
        return cls(api, content_type, url, _framer(content_type))

    def push(self, piece: bytes) -> Iterator[Any]:
        """Yield the items that the next piece completes.

        Raises:
            DosirakError: the error with which the service ended the stream.
            RemoteError: an item is not what the schema promises (the server's fault).
        """
        for frame in self.framer.push(piece):
            if self.ended:
                raise unreadable(self.url)
            if frame.event == _END:
                self.ended = True
            elif frame.event == _ERROR:
                raise error_of_event(frame.data, url=self.url)
            else:
                yield from self._items(frame)

    def finish(self) -> None:
        """Check that the stream was complete when its body ended.

        Raises:
            Unavailable: it was not.
        """
        if self.framer.remainder() or (self.framer.has_end_mark and not self.ended):
            raise self._truncated()

    @contextmanager
    def transport_errors(self, timeout_s: float) -> Generator[None]:
        """Turn what the HTTP library raises while the stream is read into errors of the tree."""
        try:
            yield
        except TRANSPORT_ERRORS as error:
            raise failure_of_exception(error, url=self.url, timeout_s=timeout_s).error from error

    def _items(self, frame: Frame) -> Iterator[Any]:
        try:
            yield from self.api.codec.decode_stream(self.content_type, (frame.whole,))
        except DosirakError:
            raise
        # As for results: a stranger's bytes go through many libraries' readers.
        except Exception as error:
            raise unreadable(self.url, error) from error

    def _truncated(self) -> Unavailable:
        return Unavailable(
            f"The stream from {self.url} broke off before its end.",
            remedy="Call again if repeating the call does no harm.",
        )


def _framer(content_type: str) -> Framer:
    name = content_type.partition(";")[0].strip().lower()
    if name == "text/event-stream":
        return EventFramer()
    if name == "application/x-ndjson":
        return LineFramer()
    return RawFramer()
