"""From a request's body to `Arguments`, by its Content-Type.

A JSON or msgpack body is an object keyed by parameter, or the root's value.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import msgspec

from dosirak.errors import FieldProblem, InvalidInput, UnsupportedMediaType
from dosirak.payload.arguments import ArgumentsType, decode_body
from dosirak.payload.leaf import read_hook
from dosirak.payload.media import JSON, MSGPACK, MediaRange, parse_media_type
from dosirak.payload.signature import Signature
from dosirak.payload.wire import Arguments, Body, WireRequest

_REMEMBERED_HEADERS = 128
BodyReader = Callable[[Body], Arguments]


class RequestReader:
    """Reads the bodies of one api.

    Attributes:
        media_types: what it can read, the default first.
    """

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._reader_for = lru_cache(_REMEMBERED_HEADERS)(self._choose_reader)
        self._arguments = ArgumentsType(signature)
        self._json = msgspec.json.Decoder(self._arguments.type, dec_hook=read_hook)
        self.media_types: tuple[str, ...] = (JSON,)

    def read(self, request: WireRequest) -> Arguments:
        """Return the arguments.

        Raises:
            RequestError: the request is wrong.
        """
        return self._reader_for(request.content_type)(request.body)

    def _choose_reader(self, content_type: str) -> BodyReader:
        media = parse_media_type(content_type) if content_type else MediaRange(JSON)
        if media.name == JSON:
            return self._read_json
        raise UnsupportedMediaType(
            f"This api reads no {content_type[:80]!r}.",
            remedy=f"Send one of: {chr(44).join(self.media_types)}.",
        )

    def _read_json(self, body: Body) -> Arguments:
        try:
            value = self._json.decode(body or b"{}")
        except Exception:
            value = decode_body(
                self._json, msgspec.json.Decoder(), body or b"{}", self._signature, "JSON"
            )
        return self._arguments.to_arguments(value)
