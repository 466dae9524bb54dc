"""From a request's body to `Arguments`, by its Content-Type.

    JSON, msgpack        an object keyed by parameter, or the root's value
    multipart, form      one field for each parameter; a query string likewise
    anything else        the whole body is the one parameter that has such a raw form

A request without Content-Type is JSON. An empty body is an object with no keys.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from dosirak.errors import FieldProblem, InvalidInput, UnsupportedMediaType
from dosirak.payload.arguments import ArgumentsType, Decoder, arrange, decode_body
from dosirak.payload.forms import FormReader
from dosirak.payload.leaf import read_hook
from dosirak.payload.media import (
    FORM,
    JSON,
    MSGPACK,
    MULTIPART,
    MediaRange,
    parse_media_type,
)
from dosirak.payload.multipart import read_form, read_multipart
from dosirak.payload.problems import Problem, explain, invalid_input
from dosirak.payload.signature import Parameter, Signature, sole_parameter
from dosirak.payload.wire import Arguments, Body, WireRequest

_REMEMBERED_HEADERS = 128
_UTF8 = frozenset(["utf-8", "ascii"])

BodyReader = Callable[[Body], Arguments]


class RequestReader:
    """Reads the requests of one api.

    Attributes:
        media_types: what it can read, the default first.
    """

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._raw_parameter = _raw_parameter(signature)
        self._form = FormReader(signature)
        self._readers = _structured_readers(signature)
        self._empty = _reader_of_nothing(signature, self._readers[JSON])
        # Callers send the same few Content-Types again and again.
        self._reader_for = lru_cache(_REMEMBERED_HEADERS)(self._choose_reader)
        self.media_types = _media_types(signature, self._raw_parameter)

    def read(self, request: WireRequest) -> Arguments:
        """Return the arguments of one call.

        Raises:
            RequestError: the request is wrong.
        """
        if not request.body:
            return self._read_without_body(request)
        return self._reader_for(request.content_type)(request.body)

    def _read_without_body(self, request: WireRequest) -> Arguments:
        if request.query and request.method in ("GET", "HEAD"):
            fields = read_form(request.query.encode("utf-8", "replace"), MediaRange(FORM))
            return self._form.read(fields)
        media = parse_media_type(request.content_type)
        raw = self._raw_parameter
        form = raw.payload.raw if raw is not None else None
        if form is not None and media.name not in ("", JSON) and form.takes(media):
            # Nothing is a valid text, file or bytes of a stated kind.
            return self._reader_for(request.content_type)(b"")
        return self._empty()

    def _choose_reader(self, content_type: str) -> BodyReader:
        media = parse_media_type(content_type) if content_type.strip() else MediaRange(JSON)
        structured = self._readers.get(media.name)
        if structured is not None:
            return _in_charset(structured, media) if media.name == JSON else structured
        if media.name == MULTIPART:
            return lambda body: self._form.read(read_multipart(bytes(body), media))
        if media.name == FORM:
            return lambda body: self._read_form(bytes(body), media)
        parameter = self._raw_parameter
        raw = parameter.payload.raw if parameter is not None else None
        if parameter is None or raw is None or not media.name or not raw.takes(media):
            raise UnsupportedMediaType(
                f"This api cannot read {media.name or content_type[:80]!r}.",
                remedy=f"Send one of: {', '.join(self.media_types)}.",
            )
        return lambda body: self._read_raw(parameter, raw, body, media)

    def _read_form(self, body: bytes, media: MediaRange) -> Arguments:
        try:
            return self._form.read(read_form(body, media))
        except InvalidInput as error:
            if not body.lstrip().startswith((b"{", b"[")):
                raise
            # What `curl -d` does with JSON when it is not told what it sends.
            raise InvalidInput(
                "The body looks like JSON and was sent as a form.",
                remedy="Send it with the header 'Content-Type: application/json'.",
                fields=[FieldProblem("", f"is sent as {FORM}")],
            ) from error

    def _read_raw(self, parameter: Parameter, raw: Any, body: Body, media: MediaRange) -> Arguments:
        try:
            value = raw.load(memoryview(body), media)
        except Problem as error:
            name = "" if parameter.root else parameter.name
            raise invalid_input(explain(error, name)) from error
        return arrange(self._signature.parameters, {parameter.name: value})


def _raw_parameter(signature: Signature) -> Parameter | None:
    parameter = sole_parameter(signature)
    return parameter if parameter is not None and parameter.payload.raw is not None else None


def _structured_readers(signature: Signature) -> dict[str, BodyReader]:
    arguments = ArgumentsType(signature)
    as_json = _structured_reader(
        signature,
        arguments,
        msgspec.json.Decoder(arguments.type, dec_hook=read_hook),
        msgspec.json.Decoder(),
        "JSON",
    )
    as_msgpack = _structured_reader(
        signature,
        arguments,
        msgspec.msgpack.Decoder(arguments.type, dec_hook=read_hook, ext_hook=_refuse_extension),
        msgspec.msgpack.Decoder(ext_hook=_refuse_extension),
        "msgpack",
    )
    return {JSON: as_json, MSGPACK: as_msgpack}


def _structured_reader(
    signature: Signature, arguments: ArgumentsType, decoder: Decoder, untyped: Decoder, words: str
) -> BodyReader:
    decode = decoder.decode
    to_arguments = arguments.to_arguments

    def read(body: Body) -> Arguments:
        try:
            return to_arguments(decode(body))
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
            # Off the hot path: the second reading says what is wrong.
            return to_arguments(decode_body(decoder, untyped, body, signature, words))

    return read


def _refuse_extension(code: int, data: memoryview) -> Any:
    raise Problem(f"msgpack extension type {code} is not accepted")


def _reader_of_nothing(signature: Signature, read_json: BodyReader) -> Callable[[], Arguments]:
    root = signature.root
    if root is None:
        return lambda: read_json(b"{}")
    if not root.required:
        return Arguments

    def refuse() -> Arguments:
        raise InvalidInput(
            "The body is empty.",
            remedy=f"Send '{root.name}' as the body.",
            fields=[FieldProblem("", "is missing")],
        )

    return refuse


def _in_charset(read: BodyReader, media: MediaRange) -> BodyReader:
    """JSON in another encoding than UTF-8 is unusual, and lawful to refuse."""
    charset = media.parameters.get("charset", "utf-8")
    try:
        known = codecs.lookup(charset).name in _UTF8
    except (LookupError, ValueError):
        known = False
    if not known:
        raise UnsupportedMediaType(
            f"JSON in the charset {charset[:40]!r} cannot be read.", remedy="Send UTF-8."
        )
    return read


def _media_types(signature: Signature, raw: Parameter | None) -> tuple[str, ...]:
    form = raw.payload.raw if raw is not None else None
    own = form.media_types if form is not None else ()
    rest = [MULTIPART] if signature.root is None else []
    return (JSON, MSGPACK, *own, *rest)
