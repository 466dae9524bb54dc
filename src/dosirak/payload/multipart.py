"""multipart/form-data and urlencoded forms, to parts and back, with every count limited.

The parsing is python-multipart's; what it does not limit is limited here: parts, headers per part,
and what stands before the first boundary. A body is in memory already, so parts are slices of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from dosirak.errors import FieldProblem, InvalidInput
from dosirak.payload.media import MULTIPART, MediaRange
from dosirak.payload.problems import Problem
from dosirak.payload.scalars import decode_text

MAX_PARTS = 1000
MAX_FIELDS = 1000
_MAX_HEADERS_PER_PART = 16
_MAX_HEADER_BYTES = 8192
_MAX_BOUNDARY_BYTES = 70
_MAX_PREAMBLE_BYTES = 1024


@dataclass(slots=True)
class Part:
    """One field of a form.

    Attributes:
        content_type: empty where none was stated.
        filename: None for a plain field.
    """

    name: str
    body: bytes
    content_type: str = ""
    filename: str | None = None


def read_multipart(body: bytes, media: MediaRange) -> list[Part]:
    """Return the parts of a multipart body.

    Raises:
        InvalidInput: it is malformed, or exceeds a limit.
    """
    boundary = media.parameters.get("boundary", "").encode("latin-1")
    if not 0 < len(boundary) <= _MAX_BOUNDARY_BYTES:
        raise _malformed("the Content-Type names no boundary of 1 to 70 characters")
    # Looked for first, so that a long preamble costs one search and no parsing.
    start = body.find(b"--" + boundary, 0, _MAX_PREAMBLE_BYTES + len(boundary) + 2)
    if start < 0:
        raise _malformed("the body does not begin with the boundary")
    collector = _Collector(boundary)
    try:
        collector.parser.write(body[start:] if start else body)
        collector.parser.finalize()
    except (FormParserError, Problem, ValueError) as error:
        raise _malformed(str(error) or "it cannot be parsed") from error
    finally:
        # They hold each other: the parts, which may be large, must not wait for the collector.
        del collector.parser
    if not collector.ended:
        raise _malformed("the final boundary is missing")
    return collector.parts


class _Collector:
    """Gathers what the parser's callbacks report."""

    def __init__(self, boundary: bytes) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._headers: dict[bytes, bytes] = {}
        self._name = bytearray()
        self._value = bytearray()
        self._data: list[bytes] = []
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
                "on_part_end": self._finish,
                "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header,
                "on_end": self._end,
            },
            max_header_count=_MAX_HEADERS_PER_PART,
            max_header_size=_MAX_HEADER_BYTES,
        )

    def _begin(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise Problem(f"it has more than {MAX_PARTS} parts")
        self._headers, self._data = {}, []

    def _header(self) -> None:
        self._headers[bytes(self._name).strip().lower()] = bytes(self._value).strip()
        self._name.clear()
        self._value.clear()

    def _finish(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        if b"name" not in options:
            raise Problem("a part has no name in its Content-Disposition")
        encoding = self._headers.get(b"content-transfer-encoding", b"binary").lower()
        if encoding not in (b"binary", b"8bit", b"7bit"):
            raise Problem("a part has a Content-Transfer-Encoding, which is not supported")
        filename = options.get(b"filename")
        self.parts.append(
            Part(
                name=_text(options[b"name"]),
                body=b"".join(self._data),
                content_type=self._headers.get(b"content-type", b"").decode("latin-1"),
                filename=None if filename is None else _text(filename),
            )
        )

    def _end(self) -> None:
        self.ended = True


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def read_form(text: bytes, media: MediaRange) -> list[Part]:
    """Return the fields of a urlencoded form or a query string.

    Raises:
        InvalidInput: it is malformed, or has too many fields.
    """
    try:
        decoded = decode_text(text, media)
        pairs = parse_qsl(
            decoded, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise _malformed(str(error)) from error
    return [Part(name, value.encode()) for name, value in pairs]


def write_multipart(parts: Iterable[Part]) -> tuple[str, bytes]:
    """Return the Content-Type and the body of a form."""
    boundary = os.urandom(16).hex().encode()
    pieces = list[bytes]()
    for part in parts:
        pieces += (b"--", boundary, b"\r\n", _part_headers(part), b"\r\n", part.body, b"\r\n")
    pieces += (b"--", boundary, b"--\r\n")
    return f"{MULTIPART}; boundary={boundary.decode()}", b"".join(pieces)


def _part_headers(part: Part) -> bytes:
    line = f'Content-Disposition: form-data; name="{_quoted(part.name)}"'
    if part.filename is not None:
        line += f'; filename="{_quoted(part.filename)}"'
    if part.content_type:
        line += f"\r\nContent-Type: {part.content_type}"
    return f"{line}\r\n".encode()


def _quoted(text: str) -> str:
    """Escape as browsers do."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _malformed(reason: str) -> InvalidInput:
    return InvalidInput(
        f"The form cannot be read: {reason}.",
        remedy="Send multipart/form-data with one part for each parameter.",
        fields=[FieldProblem("", reason)],
    )
