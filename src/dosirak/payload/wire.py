"""The transport-free request and response, and the contract between bytes and calls.

HTTP, gRPC, batch jobs and tests all speak these four values; nothing here knows a socket. They are
msgspec structs because one of each is made for every request, and making a frozen dataclass costs
ten times as much.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Protocol

from msgspec import Struct, field

from dosirak.errors import DosirakError

Body = bytes | bytearray | memoryview


class WireRequest(Struct, frozen=True):
    """One call as it arrived.

    Attributes:
        body: the whole body, already decompressed.
        content_type: the Content-Type header with its parameters; empty when absent.
        accept: the Accept header; empty when absent.
        headers: every header, names in lower case.
        query: the raw query string, without `?`.
        method: the HTTP method, `POST` for callers that have none.
    """

    body: Body = b""
    content_type: str = ""
    accept: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    method: str = "POST"


class WireResponse(Struct, frozen=True):
    """One complete answer."""

    body: Body
    content_type: str
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class StreamOutcome(Struct):
    """What became of a stream: filled in by whoever makes its chunks, when they end.

    The status was sent before the first chunk and cannot say it any more.

    Attributes:
        error: what ended the stream early; None while it goes on, and when it is whole.
    """

    error: DosirakError | None = None


class WireStream(Struct, frozen=True):
    """An answer produced piece by piece.

    `chunks` yields encoded pieces. An exception from user code has already become a final error
    piece where the media type has one (`text/event-stream`, `application/x-ndjson`); for raw bytes
    it is raised, and the transport must end the connection without completing the message, so that
    a caller can never take half an answer for a whole one. Either way `outcome` tells the server.
    """

    chunks: AsyncIterator[bytes]
    content_type: str
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    outcome: StreamOutcome = field(default_factory=StreamOutcome)


class Arguments(Struct, frozen=True):
    """Decoded arguments for one call of a handler (`self` and the context excluded)."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


class ApiCodec(Protocol):
    """Turns bytes into arguments and results into bytes, for one api.

    Built once per api when the service is read. `payload.codec` makes the native one from type
    hints; other ways to author (classic BentoML adapters, …) bring their own.
    """

    def decode(self, request: WireRequest) -> Arguments:
        """Read the arguments of one call.

        Raises:
            RequestError: the request is wrong (the remote caller's fault); `fields` says where.
        """
        ...

    def encode(self, result: Any, request: WireRequest) -> WireResponse:
        """Write a handler's result, in the media type that the request accepts.

        Raises:
            NotAcceptable: no media type in Accept can carry the result (the remote caller's fault).
            ResultError: the result does not fit the return annotation (the service's fault).
        """
        ...

    def encode_stream(
        self, items: AsyncIterator[Any] | Iterator[Any], request: WireRequest
    ) -> WireStream:
        """Write a generator's items one by one (see `WireStream` for errors on the way)."""
        ...

    def encode_error(
        self, error: DosirakError, request: WireRequest, *, request_id: str = ""
    ) -> WireResponse:
        """Write an error raised by `decode`, by the handler or by the dataplane."""
        ...

    def describe(self) -> dict[str, Any]:
        """Say what travels, as JSON: part of the API schema that clients and the bundle read.

        Keys: `parameters` (a list of `{name, required, default?, root, schema}`), `returns` (a
        schema), `streams` (bool), `request_media_types` and `response_media_types` (lists, the
        default first). A schema is JSON Schema 2020-12 with `x-dosirak-*` extensions.
        """
        ...
