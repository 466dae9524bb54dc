"""From the fields of a form or a query string to `Arguments`.

A field for a `str` is its text. For every other type it is JSON, or text where the type is written
as text (a date, an enumeration): `top=3`, `tags=["a","b"]`, `day=2026-11-22`. A part with a
Content-Type or a file name is read as what it says it is. A list may also come as repeated fields.
"""

from __future__ import annotations

from typing import Any

import msgspec

from dosirak.errors import FieldProblem
from dosirak.payload.arguments import arrange
from dosirak.payload.hints import Payload
from dosirak.payload.leaf import RawForm, read_hook
from dosirak.payload.media import JSON, MSGPACK, OCTETS, TEXT, MediaRange, parse_media_type
from dosirak.payload.multipart import Part
from dosirak.payload.problems import MAX_PROBLEMS, Problem, explain, invalid_input
from dosirak.payload.scalars import TextForm, decode_text
from dosirak.payload.signature import Signature
from dosirak.payload.wire import Arguments


class FormReader:
    """Reads the fields of one api's forms."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._payloads = {p.name: p.payload for p in signature.parameters}

    def read(self, parts: list[Part]) -> Arguments:
        """Return the arguments.

        Raises:
            InvalidInput: fields are missing, unknown or do not fit.
        """
        problems: list[FieldProblem] = []
        values: dict[str, Any] = {}
        for name, group in _by_name(parts).items():
            payload = self._payloads.get(name)
            if payload is None:
                problems.append(FieldProblem(name[:100], "is not a parameter of this api"))
                continue
            try:
                values[name] = _read_field(payload, group)
            except (Problem, msgspec.MsgspecError, ValueError, RecursionError) as error:
                problems += explain(error, name, payload.wire)
        problems += [
            FieldProblem(parameter.name, "is missing")
            for parameter in self._signature.parameters
            if parameter.required and parameter.name not in _names(parts)
        ]
        if problems:
            raise invalid_input(problems[:MAX_PROBLEMS])
        return arrange(self._signature.parameters, values)


def _names(parts: list[Part]) -> set[str]:
    return {part.name for part in parts}


def _by_name(parts: list[Part]) -> dict[str, list[Part]]:
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(part.name, []).append(part)
    return groups


def _read_field(payload: Payload, parts: list[Part]) -> Any:
    if payload.items is not None and (len(parts) > 1 or _goes_alone(payload.items, parts[0])):
        return [_read_part(payload.items, part) for part in parts]
    if len(parts) > 1:
        raise Problem("is given more than once")
    return _read_part(payload, parts[0])


def _goes_alone(items: Payload, part: Part) -> bool:
    """Whether a single part is one element of a list of files, rather than the whole list."""
    stated = parse_media_type(part.content_type).name if part.content_type else ""
    return items.raw is not None and items.raw.is_file and stated not in (JSON, MSGPACK)


def _read_part(payload: Payload, part: Part) -> Any:
    media = parse_media_type(part.content_type) if part.content_type else MediaRange("")
    if media.name == JSON:
        return _convert(_from_json(part.body), payload)
    if media.name == MSGPACK:
        raise Problem("msgpack cannot be part of a form; send JSON")
    if isinstance(payload.raw, TextForm):
        return _convert(decode_text(part.body, media), payload)
    stated = media if media.name else MediaRange(OCTETS)
    if payload.raw is not None and (media.name or part.filename is not None or payload.raw.is_file):
        if media.name in ("", TEXT) or payload.raw.takes(stated):
            return _load(payload.raw, part, stated)
        raise Problem(f"cannot be read from {media.name}")
    return _read_text(payload, decode_text(part.body, media))


def _load(raw: RawForm, part: Part, media: MediaRange) -> Any:
    named = getattr(raw, "load_named", None)
    if named is not None:
        return named(memoryview(part.body), media, part.filename or "")
    return raw.load(memoryview(part.body), media)


def _read_text(payload: Payload, text: str) -> Any:
    """Read `3` as JSON, and `2026-11-22` as the text that it is."""
    try:
        value = _from_json(text.encode())
    except Problem as error:
        try:
            return _convert(text, payload)
        except (msgspec.MsgspecError, ValueError):
            raise error from None
    try:
        return _convert(value, payload)
    except (msgspec.MsgspecError, ValueError):
        if isinstance(value, str):
            raise
        try:
            return _convert(text, payload)
        except (msgspec.MsgspecError, ValueError):
            pass
        raise


def _from_json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise Problem("is nested too deeply") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise Problem(f"is not JSON: {error}") from error


def _convert(value: Any, payload: Payload) -> Any:
    return msgspec.convert(value, payload.wire, dec_hook=read_hook, str_keys=True)
