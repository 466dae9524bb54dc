"""Payloads as JSON Schema, and back to hints where only the schema is known.

`schema_of` gives JSON Schema 2020-12 in which every reference is written out, so that a schema can
stand anywhere in a larger document; a type that holds itself is cut off with
`x-dosirak-recursive`. `hint_from_schema` is its inverse for what travels: objects become
`TypedDict`s, and `x-dosirak-type` brings arrays, tables, tensors, images and files back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict, Union

import msgspec

from dosirak.payload.annotations import Columns, DType, MediaType, Shape
from dosirak.payload.hints import Payload
from dosirak.payload.leaf import schema_hook
from dosirak.payload.references import inline_references

Schema = dict[str, Any]


def schema_of(payload: Payload) -> Schema:
    """Return the schema of one payload."""
    schema = msgspec.json.schema(payload.wire, schema_hook=schema_hook)
    return inline_references(schema)


def hint_from_schema(schema: Mapping[str, Any]) -> Any:
    """Return a type hint for what a schema describes; `Any` for what it leaves open."""
    special = _SPECIAL.get(schema.get("x-dosirak-type", ""))
    if special is not None:
        return special(schema)
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return _union([hint_from_schema(option) for option in schema[union]])
    kind = schema.get("type")
    if isinstance(kind, list):
        return _union([hint_from_schema({**schema, "type": one}) for one in kind])
    if "enum" in schema:
        return _enumeration(schema["enum"])
    reader = _BY_TYPE.get(kind or "")
    return reader(schema) if reader else Any


def _union(options: list[Any]) -> Any:
    """Objects that differ cannot be told apart by type: they are left open."""
    plain = (str, int, float, bool, None, bytes)
    special = [option for option in options if option not in plain]
    if Any in options or len(special) > 1 or (special and set(options) - {None, special[0]}):
        nullable_only = [option for option in options if option is not None]
        return Union[nullable_only[0], None] if len(nullable_only) == 1 else Any  # noqa: UP007
    return Union[tuple(options)]  # noqa: UP007


def _enumeration(values: list[Any]) -> Any:
    fits = all(isinstance(value, str | int) and not isinstance(value, bool) for value in values)
    return Literal[tuple(values)] if fits else Any


def _string(schema: Mapping[str, Any]) -> Any:
    return bytes if schema.get("contentEncoding") == "base64" else str


def _array(schema: Mapping[str, Any]) -> Any:
    if "prefixItems" in schema:
        return list[Any]
    return list[hint_from_schema(schema.get("items") or {})]


def _object(schema: Mapping[str, Any]) -> Any:
    properties = schema.get("properties")
    if not properties:
        extra = schema.get("additionalProperties")
        return dict[str, hint_from_schema(extra if isinstance(extra, Mapping) else {})]
    required = set(schema.get("required", ()))
    hints = {name: hint_from_schema(inner) for name, inner in properties.items()}
    fields = {n: hint if n in required else NotRequired[hint] for n, hint in hints.items()}
    return TypedDict(schema.get("title", "Object"), fields)  # type: ignore[operator]


_BY_TYPE: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "string": _string,
    "integer": lambda schema: int,
    "number": lambda schema: float,
    "boolean": lambda schema: bool,
    "null": lambda schema: None,
    "array": _array,
    "object": _object,
}


def _installed(library: str) -> bool:
    return find_spec(library) is not None


def _annotated(hint: Any, annotations: list[Any]) -> Any:
    for annotation in annotations:
        hint = Annotated[hint, annotation]
    return hint


def _array_annotations(schema: Mapping[str, Any]) -> list[Any]:
    annotations: list[Any] = []
    if "x-dosirak-shape" in schema:
        annotations.append(Shape(*schema["x-dosirak-shape"]))
    if "x-dosirak-dtype" in schema:
        annotations.append(DType(schema["x-dosirak-dtype"]))
    return annotations


def _ndarray(schema: Mapping[str, Any]) -> Any:
    if not _installed("numpy"):
        return Any
    return _annotated(import_module("numpy").ndarray, _array_annotations(schema))


def _tensor(schema: Mapping[str, Any]) -> Any:
    if not _installed("torch"):
        return _ndarray(schema)
    return _annotated(import_module("torch").Tensor, _array_annotations(schema))


_TABLE_TYPES = {"pandas": "DataFrame", "polars": "DataFrame", "pyarrow": "Table"}


def _table(schema: Mapping[str, Any]) -> Any:
    wanted = schema.get("x-dosirak-library", "pandas")
    library = next((name for name in (wanted, *_TABLE_TYPES) if _installed(name)), None)
    if library is None:
        return Any
    columns = schema.get("x-dosirak-columns")
    annotations = [Columns.from_mapping(columns)] if columns is not None else []
    return _annotated(getattr(import_module(library), _TABLE_TYPES[library]), annotations)


def _series(schema: Mapping[str, Any]) -> Any:
    wanted = schema.get("x-dosirak-library", "pandas")
    library = next((name for name in (wanted, "pandas", "polars") if _installed(name)), None)
    if library is None:
        return list[Any]
    return _annotated(import_module(library).Series, _array_annotations(schema))


def _media(schema: Mapping[str, Any]) -> list[Any]:
    media_type = schema.get("contentMediaType")
    return [MediaType(media_type)] if media_type else []


def _file(schema: Mapping[str, Any]) -> Any:
    return _annotated(Path, _media(schema))


def _image(schema: Mapping[str, Any]) -> Any:
    if not _installed("PIL"):
        return bytes
    media_type = schema.get("contentMediaType", "image/*")
    image = import_module("PIL.Image").Image
    return image if media_type == "image/*" else Annotated[image, MediaType(media_type)]


_SPECIAL: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "ndarray": _ndarray,
    "tensor": _tensor,
    "table": _table,
    "series": _series,
    "file": _file,
    "image": _image,
}
