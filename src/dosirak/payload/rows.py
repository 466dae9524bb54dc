"""Whether a type's values have rows: what a batchable api takes and returns.

The other half of `batching`, which finds rows in values: here they are found in hints, when a
service is read, so that a batch that could never be joined or handed out is refused at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from dosirak.payload.arrays import ArrayLeaf
from dosirak.payload.hints import Payload
from dosirak.payload.leaf import Leaf, leaf_of
from dosirak.payload.records import UnionLeaf
from dosirak.payload.tables import SeriesLeaf, TableLeaf
from dosirak.payload.tensors import TensorLeaf

ROWS = "an array, a tensor, a table, a series or a list"
_LEAVES_WITH_ROWS = (ArrayLeaf, TableLeaf, SeriesLeaf, TensorLeaf)


def holds_rows(payload: Payload) -> bool:
    """Whether a value of this type can be an array, a tensor, a table, a series or a list.

    A type that says nothing (`Any`) can.
    """
    return _holds_rows(payload.wire)


def _holds_rows(wire: Any) -> bool:
    leaf = leaf_of(wire)
    if leaf is not None:
        return _leaf_holds_rows(leaf)
    return _information_holds_rows(msgspec.inspect.type_info(wire))


def _leaf_holds_rows(leaf: Leaf) -> bool:
    if isinstance(leaf, UnionLeaf):
        return any(map(_holds_rows, leaf.wires))
    return isinstance(leaf, _LEAVES_WITH_ROWS)


def _information_holds_rows(information: msgspec.inspect.Type) -> bool:
    judge = _JUDGES.get(type(information))
    return judge is not None and judge(information)


_JUDGES: dict[type, Callable[[Any], bool]] = {
    msgspec.inspect.AnyType: lambda _: True,
    msgspec.inspect.ListType: lambda _: True,
    msgspec.inspect.CustomType: lambda information: _holds_rows(information.cls),
    msgspec.inspect.Metadata: lambda information: _information_holds_rows(information.type),
    msgspec.inspect.UnionType: lambda information: any(
        map(_information_holds_rows, information.types)
    ),
}
