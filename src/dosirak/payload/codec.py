"""An api's codec, compiled once from its signature: `compile_codec` and `compile_client_codec`.

    request ── Content-Type ──▶ reader ──▶ Arguments
    result  ── Accept ────────▶ writer ──▶ WireResponse

Readers and writers are made per media type when the service is read; per request only the header is
looked up. See `bodies` for what can be read, `results` for what can be written.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec

from dosirak.errors import DosirakError, NotAcceptable
from dosirak.payload.bodies import RequestReader
from dosirak.payload.callers import ClientCodec, compile_client_codec
from dosirak.payload.media import EVENT_STREAM, JSON, MSGPACK, NDJSON, choose
from dosirak.payload.problems import NoMsgpackForm
from dosirak.payload.results import Writer, raw_writer, structured_writer
from dosirak.payload.scalars import BytesForm, TextForm
from dosirak.payload.signature import Signature
from dosirak.payload.streams import Items, encode_items
from dosirak.payload.wire import (
    ApiCodec,
    Arguments,
    StreamOutcome,
    WireRequest,
    WireResponse,
    WireStream,
)

_REMEMBERED_HEADERS = 128


class SignatureCodec:
    """The native `ApiCodec`: everything follows from the signature."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self._reader = RequestReader(signature)
        self._writers = _writers(signature)
        self._offers = _stream_types(signature) if signature.streams else tuple(self._writers)
        # Callers send the same few Accept headers again and again.
        self._writer_for = lru_cache(_REMEMBERED_HEADERS)(self._choose_writer)

    def decode(self, request: WireRequest) -> Arguments:
        """Read the arguments of one call (see `ApiCodec.decode`)."""
        return self._reader.read(request)

    def encode(self, result: Any, request: WireRequest) -> WireResponse:
        """Write a handler's result (see `ApiCodec.encode`)."""
        try:
            written = self._writer_for(request.accept)(result)
        except NotAcceptable as error:
            # An integer beyond 64 bits: JSON has it, if the caller takes that too.
            if not isinstance(error.__cause__, NoMsgpackForm) or not choose(request.accept, [JSON]):
                raise
            written = self._writers[JSON](result)
        if written.filename:
            headers = (_disposition(written.filename),)
            return WireResponse(written.body, written.content_type, 200, headers)
        return WireResponse(written.body, written.content_type)

    def encode_stream(self, items: Items, request: WireRequest) -> WireStream:
        """Write a generator's items one by one (see `streams`)."""
        media_type = self._choose_stream(request.accept)
        write = self._item_writer(media_type)
        request_id = request.headers.get("x-request-id", "")
        outcome = StreamOutcome()

        def write_error(error: DosirakError) -> bytes:
            outcome.error = error
            return msgspec.json.encode(error_body(error, request_id))

        chunks = encode_items(items, media_type, write, write_error)
        return WireStream(chunks, media_type, outcome=outcome)

    def encode_error(
        self, error: DosirakError, request: WireRequest, *, request_id: str = ""
    ) -> WireResponse:
        """Write an error as JSON."""
        return error_response(error, request_id=request_id)

    def describe(self) -> dict[str, Any]:
        """Return the signature and the media types as JSON values."""
        return {
            **self.signature.describe(),
            "request_media_types": list(self._reader.media_types),
            "response_media_types": list(self._offers),
        }

    def _choose_writer(self, accept: str) -> Writer:
        return self._writers[_chosen(accept, tuple(self._writers))]

    def _choose_stream(self, accept: str) -> str:
        return _chosen(accept, self._offers)

    def _item_writer(self, media_type: str) -> Writer:
        return self._writers[JSON if media_type in (EVENT_STREAM, NDJSON) else media_type]


def compile_codec(signature: Signature) -> ApiCodec:
    """Return the codec of an api for servers."""
    return SignatureCodec(signature)


def _chosen(accept: str, offers: tuple[str, ...]) -> str:
    chosen = choose(accept, offers)
    if chosen is None:
        raise NotAcceptable(
            "The result cannot be written in any media type that Accept names.",
            remedy=f"Accept one of: {', '.join(offers)}.",
        )
    return chosen


def _stream_types(signature: Signature) -> tuple[str, ...]:
    """A stream of bytes or text can also go out raw; of bytes, it does unless asked otherwise."""
    raw = signature.returns.raw
    if isinstance(raw, BytesForm):
        return (*raw.media_types, EVENT_STREAM, NDJSON)
    text = raw.media_types if isinstance(raw, TextForm) else ()
    return (EVENT_STREAM, NDJSON, *text)


def _disposition(filename: str) -> tuple[str, str]:
    return "content-disposition", f"attachment; filename*=UTF-8''{quote(filename, safe='')}"


def _writers(signature: Signature) -> dict[str, Writer]:
    """Return the writers by media type, the default first."""
    payload = signature.returns
    structured = {m: structured_writer(payload, m) for m in (JSON, MSGPACK)}
    if payload.raw is None:
        return structured
    raw = {m: raw_writer(payload, m) for m in payload.raw.media_types}
    return {**raw, **structured} if payload.raw.raw_first else {**structured, **raw}


def error_body(error: DosirakError, request_id: str) -> dict[str, Any]:
    """Return the JSON form of an error."""
    return {
        "error": error.message,
        "code": error.code,
        "remedy": error.remedy,
        "fields": [{"field": field, "reason": reason} for field, reason in error.fields],
        "request_id": request_id,
    }


def error_response(error: DosirakError, *, request_id: str = "") -> WireResponse:
    """Return the response for an error of any api, or of none."""
    body = msgspec.json.encode(error_body(error, request_id))
    return WireResponse(body, JSON, error.http_status)


__all__ = [
    "ClientCodec",
    "SignatureCodec",
    "compile_client_codec",
    "compile_codec",
    "error_body",
    "error_response",
]
