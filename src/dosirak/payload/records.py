"""Classes that hold leaves, and unions that msgspec cannot tell apart.

msgspec reads a dataclass by its own annotations, so an array with a declared shape inside one would
lose its declaration. Such a class is read into a Struct with the same fields (and placeholders in
place of the leaves), then made from its fields. A union is read by trying its members in order.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from dosirak.errors import FieldProblem
from dosirak.payload.leaf import Leaf, pack_hook, read_hook, schema_hook, write_hook
from dosirak.payload.problems import Problem, explain
from dosirak.payload.references import inline_references


class RecordField(NamedTuple):
    """One field of a class, as it is written in Python and on the wire."""

    name: str
    wire_name: str
    hint: Any
    required: bool


def record_fields(kind: Any) -> list[RecordField] | None:
    """Return the fields of a dataclass, NamedTuple, attrs class or Struct; None of other types."""
    if not isinstance(kind, type) or hasattr(kind, "__pydantic_validator__"):
        return None
    reader = next((read for test, read in _READERS if test(kind)), None)
    if reader is None:
        return None
    return reader(kind, typing.get_type_hints(kind, include_extras=True))


def _of_struct(kind: Any, hints: Mapping[str, Any]) -> list[RecordField]:
    return [
        RecordField(field.name, field.encode_name, hints[field.name], field.required)
        for field in msgspec.structs.fields(kind)
    ]


def _of_dataclass(kind: Any, hints: Mapping[str, Any]) -> list[RecordField]:
    missing = dataclasses.MISSING
    return [
        RecordField(
            field.name,
            field.name,
            hints[field.name],
            field.default is missing and field.default_factory is missing,
        )
        for field in dataclasses.fields(kind)
        if field.init
    ]


def _of_attrs(kind: Any, hints: Mapping[str, Any]) -> list[RecordField]:
    return [
        RecordField(a.alias or a.name, a.name, hints.get(a.name, Any), _is_nothing(a.default))
        for a in kind.__attrs_attrs__
        if a.init
    ]


def _is_nothing(default: Any) -> bool:
    return getattr(default, "name", "") == "NOTHING"


def _of_named_tuple(kind: Any, hints: Mapping[str, Any]) -> list[RecordField]:
    return [
        RecordField(name, name, hints.get(name, Any), name not in kind._field_defaults)
        for name in kind._fields
    ]


def _is_struct(kind: type) -> bool:
    return issubclass(kind, msgspec.Struct)


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def _is_attrs(kind: type) -> bool:
    return hasattr(kind, "__attrs_attrs__")


_READERS: tuple[tuple[Callable[[Any], bool], Callable[..., list[RecordField]]], ...] = (
    (_is_struct, _of_struct),
    (dataclasses.is_dataclass, _of_dataclass),
    (_is_attrs, _of_attrs),
    (_is_named_tuple, _of_named_tuple),
)


class RecordLeaf(Leaf):
    """One class whose fields hold leaves."""

    kind = "record"

    def __init__(self, record: Any, fields: list[RecordField], wires: Mapping[str, Any]) -> None:
        self._record = record
        self._fields = fields
        self._wires = wires
        self._as_list = _is_named_tuple(record)
        self._struct = msgspec.defstruct(
            record.__name__,
            [
                (f.name, wires[f.name]) if f.required else (f.name, wires[f.name], msgspec.UNSET)
                for f in fields
            ],
            rename={f.name: f.wire_name for f in fields},
            array_like=self._as_list,
            kw_only=not self._as_list,
        )

    def read(self, value: Any) -> Any:
        """Make the object from its fields."""
        try:
            shadow = msgspec.convert(value, self._struct, dec_hook=read_hook, str_keys=True)
        except msgspec.ValidationError as error:
            raise Problem.of(explain(error)) from error
        given = msgspec.structs.asdict(shadow)
        return self._record(**{n: v for n, v in given.items() if v is not msgspec.UNSET})

    def write(self, value: Any) -> Any:
        """Return the fields as a dictionary, or a list for a NamedTuple."""
        return self._fields_of(value, write_hook)

    def pack(self, value: Any) -> Any:
        """Return the fields, leaves packed."""
        return self._fields_of(value, pack_hook)

    def schema(self) -> dict[str, Any]:
        """Return an object of the fields."""
        return inline_references(msgspec.json.schema(self._struct, schema_hook=schema_hook))

    def _fields_of(self, value: Any, hook: Callable[[Any, Any], Any]) -> Any:
        written = [
            (f.wire_name, _write_field(_get(value, f), self._wires[f.name], hook, f.name))
            for f in self._fields
        ]
        return [one for _, one in written] if self._as_list else dict(written)


def _get(value: Any, field: RecordField) -> Any:
    if isinstance(value, Mapping) and field.wire_name in value:
        return value[field.wire_name]
    for name in (field.name, field.wire_name):
        if hasattr(value, name):
            return getattr(value, name)
    raise Problem("is missing", field=field.name)


def _write_field(value: Any, wire: Any, hook: Callable[[Any, Any], Any], name: str) -> Any:
    try:
        return msgspec.convert(value, wire, dec_hook=hook)
    except (msgspec.ValidationError, Problem) as error:
        raise Problem.of(explain(error, name)) from error


class UnionLeaf(Leaf):
    """One of several types, tried in the order in which the author wrote them."""

    kind = "union"

    def __init__(self, wires: tuple[Any, ...]) -> None:
        self.wires = wires

    def read(self, value: Any) -> Any:
        """Return the value as the first member that it fits."""
        return self._first(value, read_hook, str_keys=True)

    def write(self, value: Any) -> Any:
        """Write as the first member that the value fits."""
        return self._first(value, write_hook)

    def pack(self, value: Any) -> Any:
        """Write as the first member that the value fits, packed."""
        return self._first(value, pack_hook)

    def schema(self) -> dict[str, Any]:
        """Return the schemas of the members."""
        schemas = [msgspec.json.schema(wire, schema_hook=schema_hook) for wire in self.wires]
        return {"anyOf": [inline_references(schema) for schema in schemas]}

    def _first(self, value: Any, hook: Callable[[Any, Any], Any], *, str_keys: bool = False) -> Any:
        reasons: list[FieldProblem] = []
        for wire in self.wires:
            try:
                return msgspec.convert(value, wire, dec_hook=hook, str_keys=str_keys)
            except (msgspec.ValidationError, Problem) as error:
                reasons += explain(error)
        said = "; or ".join(dict.fromkeys(problem.reason for problem in reasons))
        raise Problem(f"fits no member of the union: {said}"[:500])
