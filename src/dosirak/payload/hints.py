"""From an author's type hint to a `Payload`: what msgspec compiles, with leaves in their places.

    list[Annotated[np.ndarray, Shape(None, 4)]]   →   wire: list[<ndarray>], one leaf

A hint is walked once. What msgspec knows stays as it is; a type from a family (arrays, tables,
tensors, images, files, models) becomes its leaf's placeholder; a dataclass, NamedTuple, attrs class
or Struct that holds a leaf somewhere, and a union that msgspec cannot tell apart, become leaves of
their own (`records`). What remains unknown is refused, with the place named and a remedy.
"""

from __future__ import annotations

import types
import typing
from collections import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from dosirak.errors import UnsupportedHint
from dosirak.payload import arrays, files, images, models, tables, tensors
from dosirak.payload.annotations import MediaType
from dosirak.payload.leaf import Leaf, RawForm, leaf_of, placeholder
from dosirak.payload.records import RecordField, RecordLeaf, UnionLeaf, record_fields
from dosirak.payload.scalars import BytesForm, TextForm

Recogniser = Callable[[Any, Sequence[Any]], Leaf | None]

_FAMILIES: tuple[Recogniser, ...] = (
    arrays.recognise,
    tables.recognise,
    tensors.recognise,
    images.recognise,
    files.recognise,
    models.recognise,
)
_NOTHING = type(None)
_UNIONS = (Union, types.UnionType)


@dataclass(frozen=True, slots=True)
class Payload:
    """A type that crosses the boundary.

    Attributes:
        hint: as the author wrote it.
        wire: the same type for msgspec, leaves replaced by placeholders.
        leaf: the leaf, where the whole payload is one (or one or nothing).
        raw: how one value can be a whole body that is neither JSON nor msgpack, if it can.
        native: msgspec alone reads and writes it; there is no leaf anywhere in it.
        nullable: None is one of its values.
        items: the payload of each element, where this is a list.
    """

    hint: Any
    wire: Any
    leaf: Leaf | None
    raw: RawForm | None
    native: bool
    nullable: bool
    items: Payload | None = None


class UnsupportedError(Exception):
    """A hint, somewhere inside another, that cannot travel; becomes `UnsupportedHint`."""

    def __init__(self, hint: Any, remedy: str) -> None:
        super().__init__(hint, remedy)
        self.hint = hint
        self.remedy = remedy


_REMEDY = (
    "Use JSON-like types (str, int, float, bool, list, dict, Optional, Literal), a dataclass,"
    " TypedDict, msgspec or pydantic model, or numpy, pandas, polars, pyarrow, torch, PIL, Path or"
    " bytes."
)


def read_hint(hint: Any, *, where: str, name: str) -> Payload:
    """Return the payload of one parameter's (or `return`'s) hint.

    Args:
        hint: the resolved hint.
        where: the service and api, for the error.
        name: the parameter, for the error.

    Raises:
        UnsupportedHint: it has no wire form (the service author's fault).
    """
    try:
        return _read(hint)
    except UnsupportedError as error:
        raise UnsupportedHint(
            f"{where}: '{name}' is annotated {describe_hint(hint)}, and"
            f" {describe_hint(error.hint)} cannot travel.",
            remedy=error.remedy,
        ) from error


def describe_hint(hint: Any) -> str:
    """Return a hint as an author would write it."""
    if isinstance(hint, type) and not get_args(hint):
        module = hint.__module__
        return hint.__qualname__ if module == "builtins" else f"{module}.{hint.__qualname__}"
    return str(hint).replace("typing.", "")


def _read(hint: Any) -> Payload:
    leaves: list[Leaf] = []
    wire = _Walk(leaves).rewrite(hint)
    _check_with_msgspec(hint, wire)
    inner, annotations = _split_annotated(_without_none(hint))
    leaf = leaf_of(_split_annotated(_without_none(wire))[0])
    raw: Any = leaf if hasattr(leaf, "load") else _scalar_form(inner, annotations)
    nullable = _without_none(hint) is not hint
    return Payload(hint, wire, leaf, raw, native=not leaves, nullable=nullable, items=_items(inner))


def _items(inner: Any) -> Payload | None:
    if get_origin(inner) is not list:
        return None
    return _read(get_args(inner)[0])


def _scalar_form(inner: Any, annotations: Sequence[Any]) -> RawForm | None:
    media_type = next((a for a in annotations if isinstance(a, MediaType)), None)
    if inner is str:
        return TextForm(media_type)
    if inner in (bytes, bytearray, memoryview):
        return BytesForm(media_type)
    return None


def _check_with_msgspec(hint: Any, wire: Any) -> None:
    try:
        msgspec.json.Decoder(wire, dec_hook=lambda kind, value: value)
    except (TypeError, NotImplementedError, NameError) as error:
        raise UnsupportedError(hint, f"{error}. {_REMEDY}") from error


class _Walk:
    """One walk through a hint; collects the leaves it meets."""

    def __init__(self, leaves: list[Leaf]) -> None:
        self._leaves = leaves
        self._within: list[Any] = []

    def rewrite(self, hint: Any) -> Any:
        """Return the hint with placeholders for leaves."""
        inner, annotations = _split_annotated(hint)
        leaf = self._recognise(inner, annotations)
        if leaf is not None:
            return self._place(leaf)
        rewritten = self._rewrite_inner(inner)
        for constraint in annotations:
            if isinstance(constraint, msgspec.Meta):
                rewritten = Annotated[rewritten, constraint]
        return rewritten

    def _place(self, leaf: Leaf) -> Any:
        self._leaves.append(leaf)
        return placeholder(leaf)

    def _recognise(self, inner: Any, annotations: Sequence[Any]) -> Leaf | None:
        return next((leaf for family in _FAMILIES if (leaf := family(inner, annotations))), None)

    def _rewrite_inner(self, hint: Any) -> Any:
        origin, parts = get_origin(hint), get_args(hint)
        if origin is typing.Literal:
            return hint
        if origin in _UNIONS:
            return self._rewrite_union(parts)
        if typing.is_typeddict(hint):
            return self._rewrite_typed_dict(hint)
        if origin is None or not parts:
            return self._rewrite_plain(hint)
        rewritten = tuple(part if part is ... else self.rewrite(part) for part in parts)
        return hint if rewritten == parts else _BARE.get(origin, origin)[rewritten]

    def _rewrite_plain(self, hint: Any) -> Any:
        if hint is None or hint is Any:
            return hint
        if hint is object:
            return Any
        fields = record_fields(hint) if hint not in self._within else None
        if fields is not None:
            return self._rewrite_record(hint, fields)
        if not _is_native(hint):
            raise UnsupportedError(hint, _REMEDY)
        return hint

    def _rewrite_record(self, record: Any, fields: list[RecordField]) -> Any:
        """Leave a class without leaves to msgspec, which is faster and knows more of it."""
        before = len(self._leaves)
        self._within.append(record)
        wires = {field.name: self.rewrite(field.hint) for field in fields}
        self._within.pop()
        if len(self._leaves) == before:
            return record
        return self._place(RecordLeaf(record, fields, wires))

    def _rewrite_typed_dict(self, hint: Any) -> Any:
        if hint in self._within:
            return hint
        before = len(self._leaves)
        self._within.append(hint)
        hints = typing.get_type_hints(hint, include_extras=True)
        fields = {name: self._rewrite_key(inner) for name, inner in hints.items()}
        self._within.pop()
        if len(self._leaves) == before:
            return hint
        required = hint.__required_keys__
        keys = {n: f if n in required else typing.NotRequired[f] for n, f in fields.items()}
        return typing.TypedDict(hint.__name__, keys)  # type: ignore[operator]

    def _rewrite_key(self, hint: Any) -> Any:
        if get_origin(hint) in (typing.Required, typing.NotRequired):
            (hint,) = get_args(hint)
        return self.rewrite(hint)

    def _rewrite_union(self, parts: Sequence[Any]) -> Any:
        members = tuple(self.rewrite(part) for part in parts)
        union = Union[members]  # noqa: UP007
        if _msgspec_accepts(union):
            return union
        others = tuple(member for member in members if member is not _NOTHING)
        leaf = self._place(UnionLeaf(others))
        return Union[leaf, None] if len(others) < len(members) else leaf  # noqa: UP007


# Abstract collections that cannot be subscripted by their origin come back as what msgspec makes.
_BARE: dict[Any, Any] = {
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Collection: list,
    abc.Mapping: dict,
    abc.MutableMapping: dict,
    abc.Set: set,
    abc.MutableSet: set,
}


def _msgspec_accepts(wire: Any) -> bool:
    try:
        msgspec.json.Decoder(wire, dec_hook=lambda kind, value: value)
    except (TypeError, NotImplementedError):
        return False
    return True


def _is_native(hint: Any) -> bool:
    """Whether msgspec knows the type itself, rather than leaving it to a hook."""
    try:
        information = msgspec.inspect.type_info(hint)
    except (TypeError, NotImplementedError, NameError):
        return False
    return not isinstance(information, msgspec.inspect.CustomType)


def _split_annotated(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    if get_origin(hint) is Annotated:
        inner, *annotations = get_args(hint)
        return inner, tuple(annotations)
    return hint, ()


def _without_none(hint: Any) -> Any:
    """Return `T` for `T | None`; any other hint as it is."""
    if get_origin(hint) in _UNIONS:
        others = [part for part in get_args(hint) if part is not _NOTHING]
        if len(others) == 1:
            return others[0]
    return hint
