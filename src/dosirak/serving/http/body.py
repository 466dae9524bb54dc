"""Reading a request's body: bounded in size, time and expansion, before anything decodes it."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Mapping

from starlette.types import Receive

from dosirak.errors import (
    InvalidInput,
    PayloadTooLarge,
    RequestError,
    RequestTooSlow,
    UnsupportedMediaType,
)
from dosirak.serving.http.options import MEBIBYTE, HttpOptions

# A compressed body may grow this many times; below the free size any growth is harmless.
_MOST_EXPANSION = 100
_FREE_EXPANSION_BYTES = MEBIBYTE
# Larger compressed bodies are inflated on a thread, so that the loop goes on.
_INFLATE_ON_LOOP_BYTES = 16 * 1024
# 16 + window size: a gzip header. deflate is zlib's format; the raw one is nobody's default.
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": 15}


async def read_body(
    receive: Receive, headers: Mapping[str, str], options: HttpOptions
) -> bytes | bytearray:
    """Read the whole body, and decompress it.

    Raises:
        PayloadTooLarge: it is, or announces that it will be, over the limit.
        RequestTooSlow: it did not arrive in time.
        UnsupportedMediaType: its Content-Encoding is not read here.
        InvalidInput: it is not what its Content-Encoding says.
    """
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity") and encoding not in _WINDOW_BITS:
        raise UnsupportedMediaType(
            f"The Content-Encoding {encoding[:64]!r} is not read here.",
            remedy="Send gzip, deflate, or no Content-Encoding.",
        )
    check_announced(headers.get("content-length", ""), options)
    body = await _receive_all(receive, options)
    if encoding not in _WINDOW_BITS:
        return body
    if len(body) <= _INFLATE_ON_LOOP_BYTES:
        return _inflate(body, encoding, options.max_body_bytes)
    return await asyncio.to_thread(_inflate, body, encoding, options.max_body_bytes)


def check_announced(content_length: str, options: HttpOptions) -> None:
    """Refuse a body that says that it is too large.

    Raises:
        PayloadTooLarge: it does.
    """
    digits = content_length.lstrip("0")
    if digits.isdecimal() and (len(digits) > 19 or int(digits) > options.max_body_bytes):
        raise too_large(options.max_body_bytes)


async def _receive_all(receive: Receive, options: HttpOptions) -> bytes | bytearray:
    began_s = time.monotonic()
    body = bytearray()
    while True:
        # The longer a body takes, the more of it must be here.
        allowed_s = options.body_grace_s + len(body) / options.body_bytes_per_s
        try:
            async with asyncio.timeout(began_s + allowed_s - time.monotonic()):
                message = await receive()
        except TimeoutError as error:
            raise RequestTooSlow(
                "The body did not arrive in time.", remedy="Send it faster, or less of it."
            ) from error
        if message["type"] == "http.disconnect":
            raise RequestError("The connection was closed within the body.")
        piece: bytes = message.get("body", b"")
        if len(body) + len(piece) > options.max_body_bytes:
            raise too_large(options.max_body_bytes)
        if not message.get("more_body", False):
            return body + piece if body else piece
        body += piece


def _inflate(body: bytes | bytearray, encoding: str, max_body_bytes: int) -> bytes:
    allowed = max(_FREE_EXPANSION_BYTES, len(body) * _MOST_EXPANSION)
    limit = min(max_body_bytes, allowed)
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        inflated = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidInput(
            f"The body is not {encoding}.", remedy="Correct the Content-Encoding."
        ) from error
    if len(inflated) > limit:
        raise PayloadTooLarge(
            f"The body grows over {limit} bytes when decompressed.",
            remedy="Send it uncompressed, or less of it.",
        )
    # One stream only: a million empty ones after each other would cost time and grow nothing.
    if not inflater.eof or inflater.unused_data:
        raise InvalidInput(
            f"The body is not exactly one {encoding} stream.",
            remedy="Compress the whole body once.",
        )
    return inflated


def too_large(limit: int) -> PayloadTooLarge:
    """Return the error for a body that is over the limit, in bytes."""
    return PayloadTooLarge(
        f"The body is over {limit} bytes.", remedy="Send less, or serve with a larger --max-body."
    )
