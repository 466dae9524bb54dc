"""Where one item of a stream ends: bytes pushed in as they arrive, whole frames out. Pure.

Pieces of a body end anywhere, in the middle of an item or of a character; a framer keeps what is
incomplete. Pushing (rather than pulling) lets the sync and the async client share it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, Protocol

# The three line ends of server-sent events. A lone CR at the end of the data may be half a CRLF.
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


class Frame(NamedTuple):
    """One complete part of a stream.

    Attributes:
        event: the kind of a server-sent event; empty for an item.
        data: its bytes.
        whole: the same, framed: a stream of this one frame.
    """

    event: str
    data: bytes
    whole: bytes


class Framer(Protocol):
    """Finds frames."""

    # Whether the stream has a mark at its end, without which it is truncated.
    has_end_mark: bool

    def push(self, piece: bytes) -> Iterator[Frame]:
        """Take the next piece; yield the frames that it completes."""
        ...

    def remainder(self) -> bytes:
        """What is left over, once the body has ended."""
        ...


class _LineBuffer:
    """Bytes split into lines, each piece of them looked at once."""

    def __init__(self, line_end: re.Pattern[bytes]) -> None:
        self._line_end = line_end
        self._parts: list[bytes] = []

    def push(self, piece: bytes) -> Iterator[bytes]:
        # The last byte held back may be a CR whose LF is only now arriving.
        if self._parts and self._parts[-1].endswith(b"\r"):
            piece = self._parts.pop() + piece
        *ended, rest = self._line_end.split(piece)
        for line in ended:
            yield b"".join((*self._parts, line))
            self._parts.clear()
        if rest:
            self._parts.append(rest)

    def remainder(self) -> bytes:
        return b"".join(self._parts)


class EventFramer:
    """Server-sent events: fields on lines, an empty line after each event."""

    has_end_mark = True

    def __init__(self) -> None:
        self._lines = _LineBuffer(_LINE_END)
        self._event = ""
        self._data: list[bytes] = []

    def push(self, piece: bytes) -> Iterator[Frame]:
        """Take the next piece; yield the events that it completes."""
        for line in self._lines.push(piece):
            if line:
                self._take(line)
            else:
                yield from self._dispatch()

    def remainder(self) -> bytes:
        """What is left over: fields of an event without its empty line."""
        return self._lines.remainder() or b"\n".join(self._data)

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")

    def _dispatch(self) -> Iterator[Frame]:
        # An event without data is a comment kept alive, unless its kind says it all.
        if self._data or self._event:
            whole = b"".join(b"data: %b\n" % line for line in self._data) + b"\n"
            yield Frame(self._event, b"\n".join(self._data), whole)
        self._event = ""
        self._data = []


class LineFramer:
    """Newline-delimited JSON: an item on each line."""

    has_end_mark = False

    def __init__(self) -> None:
        self._lines = _LineBuffer(re.compile(rb"\n"))

    def push(self, piece: bytes) -> Iterator[Frame]:
        """Take the next piece; yield the lines that it completes."""
        return (Frame("", line, line + b"\n") for line in self._lines.push(piece) if line.strip())

    def remainder(self) -> bytes:
        """What is left over: a line without its end."""
        return self._lines.remainder().strip()


class RawFramer:
    """Bytes as they come."""

    has_end_mark = False

    def push(self, piece: bytes) -> Iterator[Frame]:
        """Pass the piece on."""
        if piece:
            yield Frame("", piece, piece)

    def remainder(self) -> bytes:
        """Nothing is ever left over."""
        return b""
