"""An api's codec, compiled once from its signature: `compile_codec` and `compile_client_codec`.

    request ── Content-Type ──▶ reader ──▶ Arguments
    result  ── Accept ────────▶ writer ──▶ WireResponse

Readers and writers are made per media type when the service is read; per request only the header is
looked up. See `bodies` for what can be read, `results` for what can be written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from dosirak.errors import DosirakError, NotAcceptable
from dosirak.payload.bodies import RequestReader
from dosirak.payload.media import JSON, MSGPACK, choose
from dosirak.payload.results import Writer, raw_writer, structured_writer
from dosirak.payload.signature import Signature
from dosirak.payload.wire import ApiCodec, Arguments, WireRequest, WireResponse, WireStream

_REMEMBERED_HEADERS = 128


class SignatureCodec:
    """The native `ApiCodec`: everything follows from the signature."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self._reader = RequestReader(signature)
        self._writers = _writers(signature)
        # Callers send the same few Accept headers again and again.
        self._writer_for = lru_cache(_REMEMBERED_HEADERS)(self._choose_writer)

    def decode(self, request: WireRequest) -> Arguments:
        """Read the arguments of one call (see `ApiCodec.decode`)."""
        return self._reader.read(request)

    def encode(self, result: Any, request: WireRequest) -> WireResponse:
        """Write a handler's result (see `ApiCodec.encode`)."""
        body, content_type, headers = self._writer_for(request.accept)(result)
        return WireResponse(body, content_type, 200, headers)

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
            "response_media_types": list(self._writers),
        }

    def _choose_writer(self, accept: str) -> Writer:
        offers = list(self._writers)
        chosen = choose(accept, offers)
        if chosen is None:
            raise NotAcceptable(
                "The result cannot be written in any media type that Accept names.",
                remedy=f"Accept one of: {', '.join(offers)}.",
            )
        return self._writers[chosen]


def compile_codec(signature: Signature) -> ApiCodec:
    """Return the codec of an api for servers."""
    return SignatureCodec(signature)


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
