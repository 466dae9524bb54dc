"""The other end: what a client sends and reads, compiled once from a signature.

A single array, table or tensor goes as npy or Arrow; a single file, image or bytes as it is.
Several arguments go as JSON; as multipart where there are files; as msgpack, which keeps every
value exact, where there are arrays or tables. Results are asked for in the
same spirit (`ClientCodec.accept`).
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any

import msgspec

from dosirak.errors import RemoteError, UsageError
from dosirak.payload.hints import Payload
from dosirak.payload.leaf import Written, read_hook
from dosirak.payload.media import (
    EVENT_STREAM,
    JSON,
    MSGPACK,
    MULTIPART,
    NDJSON,
    MediaRange,
    choose,
    parse_media_type,
)
from dosirak.payload.multipart import Part, write_multipart
from dosirak.payload.problems import Problem, explain, invalid_input
from dosirak.payload.results import StructuredWriter, json_encoder
from dosirak.payload.signature import Parameter, Signature, sole_parameter
from dosirak.payload.streams import StreamReader


class ClientCodec:
    """Encodes the arguments of an api and decodes its answers.

    Attributes:
        signature: what the api takes and returns.
        accept: the Accept header to send.
    """

    def __init__(self, signature: Signature, request_media_types: Sequence[str] = ()) -> None:
        self.signature = signature
        self._offered = frozenset(request_media_types)
        self._sole = sole_parameter(signature)
        self._media_type = self._choose_media_type()
        self._writers = {
            parameter.name: StructuredWriter(parameter.payload, self._structured_type())
            for parameter in signature.parameters
        }
        self._encode = (
            msgspec.msgpack.Encoder().encode
            if self._structured_type() == MSGPACK
            else json_encoder().encode
        )
        self._result = _ResultReader(signature.returns)
        self.accept = _accept(signature)

    def encode_arguments(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> tuple[str, bytes]:
        """Return the Content-Type and the body of a call.

        Raises:
            UsageError: arguments are missing, or unknown (the caller's fault).
            InvalidInput: one does not fit its type (the caller's fault).
        """
        values = bind(self.signature.parameters, args, kwargs or {})
        sole = self._sole
        raw_type = self._media_type not in (JSON, MSGPACK, MULTIPART)
        if sole is not None and raw_type and set(values) == {sole.name}:
            written = self._write_raw(sole, values[sole.name])
            if written is not None:
                return written.content_type, written.body
        if self._media_type == MULTIPART:
            return self._write_multipart(values)
        checked = {name: self._check(name, value) for name, value in values.items()}
        root = self.signature.root
        whole = next(iter(checked.values()), None) if root else checked
        return self._structured_type(), self._written(self._encode, whole, checked)

    def decode_result(self, content_type: str, body: bytes) -> Any:
        """Return the result in a response.

        Raises:
            RemoteError: the body is not what its Content-Type and the schema say.
        """
        return self._result.read(parse_media_type(content_type or JSON), body)

    def decode_stream(self, content_type: str, chunks: Iterable[bytes]) -> Iterator[Any]:
        """Yield the items of a stream as they come.

        Raises:
            RemoteError: the service failed on the way, the stream is not whole, or it is none.
        """
        reader = self._stream_reader(content_type)
        for chunk in chunks:
            yield from reader.feed(chunk)
        reader.finish()

    async def decode_async_stream(
        self, content_type: str, chunks: AsyncIterable[bytes]
    ) -> AsyncIterator[Any]:
        """Yield the items of a stream as they come (see `decode_stream`)."""
        reader = self._stream_reader(content_type)
        async for chunk in chunks:
            for item in reader.feed(chunk):
                yield item
        reader.finish()

    def _stream_reader(self, content_type: str) -> StreamReader:
        name = parse_media_type(content_type).name
        if name not in (EVENT_STREAM, NDJSON) and choose(self.accept, (name,)) is None:
            raise RemoteError(
                f"The server answered with {name or 'no media type'} where a stream was asked for.",
                remedy="Check the address; the service may have changed, too.",
            )
        return StreamReader(name, lambda data: self._result.read(MediaRange(JSON), data))

    def _structured_type(self) -> str:
        return MSGPACK if self._media_type == MSGPACK else JSON

    def _choose_media_type(self) -> str:
        parameters = self.signature.parameters
        raw = self._sole.payload.raw if self._sole is not None else None
        only_raw = bool(self._offered) and JSON not in self._offered
        if raw is not None and (raw.compact or only_raw):
            usable = [m for m in raw.media_types if not self._offered or m in self._offered]
            if usable:
                return usable[0]
        if any(_is_file(parameter.payload) for parameter in parameters) and self._may(MULTIPART):
            return MULTIPART
        if not all(p.payload.native for p in parameters) and self._may(MSGPACK):
            return MSGPACK
        return JSON

    def _may(self, media_type: str) -> bool:
        return not self._offered or media_type in self._offered

    def _write_raw(self, parameter: Parameter, value: Any) -> Written | None:
        raw = parameter.payload.raw
        if raw is None or value is None:
            return None
        try:
            return raw.dump(value, self._media_type)
        except (Problem, OSError, TypeError, ValueError) as error:
            raise invalid_input(explain(error, parameter.name)) from error

    def _check(self, name: str, value: Any) -> Any:
        writer = self._writers[name]
        try:
            return writer.check(value)
        except (Problem, msgspec.MsgspecError, TypeError, ValueError) as error:
            raise invalid_input(explain(error, name, writer.wire)) from error

    def _written(
        self, encode: Callable[[Any], bytes], value: Any, parts: Mapping[str, Any]
    ) -> bytes:
        try:
            return encode(value)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
            # Half of a surrogate pair, an integer too large, a cycle: find whose it is.
            for name, part in parts.items():
                try:
                    encode(part)
                except (TypeError, ValueError, OverflowError, RecursionError) as error:
                    raise invalid_input(explain(error, name)) from error
            raise

    def _write_multipart(self, values: Mapping[str, Any]) -> tuple[str, bytes]:
        parts = list[Part]()
        payloads = {p.name: p.payload for p in self.signature.parameters}
        for name, value in values.items():
            for payload, one in _each_file(payloads[name], value):
                parts.append(self._part(name, payload, one))
        return write_multipart(parts)

    def _part(self, name: str, payload: Payload, value: Any) -> Part:
        raw = payload.raw
        if raw is None or value is None:
            checked = self._check(name, value)
            encode = json_encoder().encode
            return Part(name, self._written(encode, checked, {name: checked}), JSON)
        try:
            written = raw.dump(value, raw.media_types[0])
        except (Problem, OSError, TypeError, ValueError) as error:
            raise invalid_input(explain(error, name)) from error
        return Part(name, written.body, written.content_type, written.filename or name)


def compile_client_codec(
    signature: Signature, request_media_types: Sequence[str] = ()
) -> ClientCodec:
    """Return the codec of an api for callers.

    Args:
        signature: of the api, often from `Signature.from_description`.
        request_media_types: what the server said it reads; empty for everything.
    """
    return ClientCodec(signature, request_media_types)


def bind(
    parameters: Sequence[Parameter], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return arguments by parameter name.

    Raises:
        UsageError: they do not match the parameters (the caller's fault).
    """
    ordered = [parameter.name for parameter in parameters if parameter.kind != "keyword"]
    if len(args) > len(ordered):
        raise UsageError(
            f"{len(args)} positional arguments were given, and the api takes {len(ordered)}.",
            remedy=f"Its parameters are: {_names(parameters)}.",
        )
    values = dict(zip(ordered, args, strict=False))
    known = {parameter.name for parameter in parameters}
    wrong = [name for name in kwargs if name not in known or name in values]
    missing = [
        p.name for p in parameters if p.required and p.name not in values and p.name not in kwargs
    ]
    if wrong or missing:
        said = [f"'{name}' is unknown or given twice" for name in wrong]
        said += [f"'{name}' is missing" for name in missing]
        raise UsageError(
            f"The arguments do not match the api: {', '.join(said)}.",
            remedy=f"Its parameters are: {_names(parameters)}.",
        )
    return {**values, **kwargs}


def _names(parameters: Sequence[Parameter]) -> str:
    return ", ".join(parameter.name for parameter in parameters) or "none"


def _is_file(payload: Payload) -> bool:
    items = payload.items
    return _is_file_form(payload) or (items is not None and _is_file_form(items))


def _is_file_form(payload: Payload) -> bool:
    return payload.raw is not None and payload.raw.is_file


def _each_file(payload: Payload, value: Any) -> Iterator[tuple[Payload, Any]]:
    """A list of files goes as one part for each."""
    if payload.items is not None and _is_file_form(payload.items) and value:
        for one in value:
            yield payload.items, one
    else:
        yield payload, value


def _accept(signature: Signature) -> str:
    if signature.streams:
        raw = signature.returns.raw
        return raw.media_types[0] if raw is not None and raw.is_file else EVENT_STREAM
    raw = signature.returns.raw
    best = f"{', '.join(raw.media_types)}, " if raw is not None and raw.compact else ""
    return f"{best}{MSGPACK};q=0.9, {JSON};q=0.8, */*;q=0.1"


class _ResultReader:
    """Reads results of one payload, in whatever media type they come."""

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self._json = msgspec.json.Decoder(payload.wire, dec_hook=read_hook)
        self._msgpack = msgspec.msgpack.Decoder(payload.wire, dec_hook=read_hook)

    def read(self, media: MediaRange, body: bytes) -> Any:
        """Return the result."""
        raw = self._payload.raw
        try:
            if media.name == JSON:
                return self._json.decode(body)
            if media.name == MSGPACK:
                return self._msgpack.decode(body)
            if raw is not None and raw.takes(media):
                return raw.load(memoryview(body), media)
        except (Problem, msgspec.MsgspecError, ValueError, RecursionError) as error:
            reason = explain(error)[0]
            raise RemoteError(
                f"The server's answer does not fit the api's schema: {reason.reason}.",
                remedy="Read the schema again: the service may have changed.",
                fields=[reason],
            ) from error
        raise RemoteError(
            f"The server answered with {media.name or 'an unknown media type'}.",
            remedy=f"Expect one of: {JSON}, {MSGPACK}.",
        )
