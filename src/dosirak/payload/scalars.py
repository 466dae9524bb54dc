"""Text and bytes as whole bodies; msgspec itself reads and writes them inside JSON and msgpack.

Text is decoded with the charset of its Content-Type (UTF-8 without one) and always written as
UTF-8. Bytes in JSON are base64.
"""

from __future__ import annotations

import codecs
from typing import Any

from dosirak.payload.annotations import MediaType
from dosirak.payload.leaf import Written
from dosirak.payload.media import OCTETS, TEXT, MediaRange
from dosirak.payload.problems import Problem

_CHARSETS = frozenset(
    ["utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252", "utf-16", "utf-16-le", "utf-16-be",
     "utf-32", "euc_kr", "cp949", "shift_jis", "euc_jp", "gb2312", "gbk", "gb18030", "big5"]
)  # fmt: skip


class TextForm:
    """One `str` as a whole `text/*` body."""

    compact = False
    is_file = False

    def __init__(self, media_type: MediaType | None) -> None:
        name = media_type.name if media_type else TEXT
        self._range = MediaRange(name)
        self.media_types = (concrete(name, TEXT),)
        self.raw_first = media_type is not None

    def takes(self, media: MediaRange) -> bool:
        """Whether this is text of the declared kind."""
        return self._range.covers(media.name) or media.name == TEXT

    def load(self, body: memoryview, media: MediaRange) -> str:
        """Decode the body with its charset."""
        return decode_text(body, media)

    def dump(self, value: Any, media_type: str) -> Written:
        """Write UTF-8."""
        if not isinstance(value, str):
            raise Problem(f"expected text, got {type(value).__name__}")
        return Written(encode_text(value), f"{media_type}; charset=utf-8")


class BytesForm:
    """One `bytes` as a whole body of any media type, or of the one declared."""

    raw_first = True
    compact = True
    is_file = True

    def __init__(self, media_type: MediaType | None) -> None:
        name = media_type.name if media_type else "*/*"
        self._range = MediaRange(name)
        self.media_types = (concrete(name, OCTETS),)

    def takes(self, media: MediaRange) -> bool:
        """Whether this is the declared media type, or bytes of no stated kind."""
        return self._range.covers(media.name) or media.name == OCTETS

    def load(self, body: memoryview, media: MediaRange) -> bytes:
        """Copy the body out of the request."""
        return bytes(body)

    def dump(self, value: Any, media_type: str) -> Written:
        """Write the bytes as they are."""
        if not isinstance(value, bytes | bytearray | memoryview):
            raise Problem(f"expected bytes, got {type(value).__name__}")
        return Written(bytes(value), media_type)


def concrete(name: str, fallback: str) -> str:
    """Return the media type, or `fallback` where it is a range such as `image/*`."""
    return fallback if "*" in name else name


def encode_text(value: str) -> bytes:
    """Return UTF-8.

    Raises:
        Problem: the text holds a lone surrogate, which UTF-8 cannot.
    """
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise Problem("the text holds a lone surrogate") from error


def decode_text(body: memoryview | bytes, media: MediaRange) -> str:
    """Decode text with the charset its media type names.

    Raises:
        Problem: the charset is unknown, or the bytes are not in it.
    """
    charset = media.parameters.get("charset", "utf-8")
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError) as error:
        raise Problem(f"the charset {charset[:40]!r} is not known") from error
    # Python also calls zip and rot13 codecs; only text encodings of the web are meant here.
    if name not in _CHARSETS:
        raise Problem(f"the charset {charset[:40]!r} is not supported")
    try:
        return str(body, name)
    except UnicodeDecodeError as error:
        raise Problem(f"the bytes are not valid {name}") from error
