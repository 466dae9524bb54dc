"""The values that a `Literal` or an enumeration takes, found where a problem says it is.

msgspec says that a value is none of them, and where; which they are is in the type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import inspect

_MOST_SHOWN = 20
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def choices_at(wire: Any, path: str) -> str:
    """Return the choices at a path of a type as words: `'a', 'b'`; empty where there are none.

    Args:
        wire: the type that a value was checked against.
        path: where in it, as msgspec says it: `.flowers[2].kind`.
    """
    try:
        root = inspect.type_info(wire)
    except (TypeError, ValueError, NameError):
        return ""
    steps = [name or place for name, place in _STEP.findall(path)]
    found = list(dict.fromkeys(repr(choice) for choice in _choices(root, steps)))
    more = ", …" if len(found) > _MOST_SHOWN else ""
    return ", ".join(found[:_MOST_SHOWN]) + more


def _choices(info: inspect.Type, steps: Sequence[str]) -> Iterator[Any]:
    if isinstance(info, inspect.Metadata):
        yield from _choices(info.type, steps)
    elif isinstance(info, inspect.UnionType):
        for option in info.types:
            yield from _choices(option, steps)
    elif steps:
        for inner in _inside(info, steps[0]):
            yield from _choices(inner, steps[1:])
    elif isinstance(info, inspect.LiteralType):
        yield from info.values
    elif isinstance(info, inspect.EnumType):
        yield from (member.value for member in info.cls)


def _inside(info: inspect.Type, step: str) -> Iterator[inspect.Type]:
    match info:
        case (
            inspect.ListType(item)
            | inspect.SetType(item)
            | inspect.FrozenSetType(item)
            | inspect.VarTupleType(item)
        ):
            yield item
        case inspect.TupleType(items):
            yield from items[int(step) : int(step) + 1] if step.isdigit() else items
        case inspect.DictType(_, value):
            yield value
        case (
            inspect.StructType()
            | inspect.DataclassType()
            | inspect.TypedDictType()
            | inspect.NamedTupleType()
        ):
            yield from (field.type for field in info.fields if field.encode_name == step)
        case _:
            pass
