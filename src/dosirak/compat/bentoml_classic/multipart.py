"""Reads a `multipart/form-data` body into its files, one `FileLike` for each field name."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from dosirak.compat.bentoml_classic.exceptions import BadInput
from dosirak.compat.bentoml_classic.types import FileLike, HTTPRequest


@dataclass
class _Part:
    headers: dict[str, str] = field(default_factory=dict[str, str])
    content: bytearray = field(default_factory=bytearray)

    def as_file(self) -> tuple[str, FileLike] | None:
        """Return the field's name and file; None when the part is a plain form field."""
        _, options = parse_options_header(self.headers.get("content-disposition", ""))
        name, filename = options.get(b"name"), options.get(b"filename")
        if name is None or filename is None:
            return None
        file = FileLike(
            _stream=io.BytesIO(bytes(self.content)),
            name=_text(filename),
            content_type=self.headers.get("content-type", ""),
        )
        return _text(name), file


class _Collector:
    """Receives the parser's events; offsets refer to the chunk given with them."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.ended = False
        self._header_name = bytearray()
        self._header_value = bytearray()

    def on_part_begin(self) -> None:
        self.parts.append(_Part())

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += data[start:end]

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        name = _text(bytes(self._header_name)).lower()
        self.parts[-1].headers[name] = _text(bytes(self._header_value))
        self._header_name.clear()
        self._header_value.clear()

    def on_end(self) -> None:
        self.ended = True


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def read_files(request: HTTPRequest) -> dict[str, FileLike]:
    """Return the files of a form by field name; the first of a repeated name counts.

    Raises:
        BadInput: the body is not a complete form (the remote caller's fault).
    """
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if boundary is None:
        raise BadInput("The multipart body has no boundary.", remedy="Send Content-Type whole.")
    collector = _Collector()
    try:
        parser = MultipartParser(boundary, _callbacks(collector))  # pyright: ignore[reportArgumentType]
        parser.write(request.body)
        parser.finalize()
    except MultipartParseError as error:
        raise BadInput("The multipart body is malformed.", remedy="Send a whole form.") from error
    if not collector.ended:
        raise BadInput("The multipart body ends too early.", remedy="Send a whole form.")
    files: dict[str, FileLike] = {}
    for found in filter(None, (part.as_file() for part in collector.parts)):
        files.setdefault(*found)
    return files


def _callbacks(collector: _Collector) -> dict[str, object]:
    names = ("part_begin", "part_data", "header_field", "header_value", "header_end", "end")
    return {f"on_{name}": getattr(collector, f"on_{name}") for name in names}
