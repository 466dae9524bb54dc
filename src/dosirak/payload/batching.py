"""Requests joined for one call, and its result split again, row by row and in order.

    join([{x: 2 rows}, {x: 3 rows}]) → {x: 5 rows}      split(5 rows, [2, 3]) → [2 rows, 3 rows]

Arrays and tensors join along the batch dimension; tables, series and lists by row. What has no rows
(a number, text, an option) must be equal in every request of a batch: `joinable` says whether it
is. A result that does not have a row for every row asked for is the handler's fault.

Libraries are reached through the values themselves (see `_family`), so nothing is imported that a
request has not already brought.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from dosirak.errors import ResultError
from dosirak.payload.wire import Arguments

_TABLES = frozenset(
    [
        ("pandas", "DataFrame"),
        ("pandas", "Series"),
        ("polars", "DataFrame"),
        ("polars", "Series"),
        ("pyarrow", "Table"),
        ("pyarrow", "RecordBatch"),
        ("pyarrow", "ChunkedArray"),
    ]
)
# Kinds of arrays whose dtype says all of what their items are.
_NUMBERS = frozenset("biufc")


class _Family(NamedTuple):
    """How values of one family are counted, joined and cut."""

    rows: Callable[[Any, int], int]
    join: Callable[[Sequence[Any], int], Any]
    cut: Callable[[Any, int, int, int], Any]


def rows(arguments: Arguments, batch_dimension: int = 0) -> int:
    """Return how many rows a call holds: those of its first argument that has any, else 1."""
    for value in (*arguments.args, *arguments.kwargs.values()):
        family = _family(value)
        if family is not None:
            return family.rows(value, batch_dimension)
    return 1


def plain_rows(arguments: Arguments, batch_dimension: int = 0) -> int | None:
    """Return the rows of a call whose only argument is a list or an array that has them.

    None for every other call, which needs a closer look: `without_rows`, then `rows`.
    """
    values = arguments.args or tuple(arguments.kwargs.values())
    if len(values) != 1 or (arguments.args and arguments.kwargs):
        return None
    value = values[0]
    if type(value) is list:
        return len(value)  # type: ignore[arg-type]
    if _family_of(type(value)) is _ARRAY and value.ndim > batch_dimension:
        return value.shape[batch_dimension]
    return None


def signature_of_batch(arguments: Arguments, batch_dimension: int = 0) -> tuple[Any, ...]:
    """Return what two calls must have in common to be joined.

    For values with rows: their kind, dtype and other dimensions, or column names; for every other
    value, itself.
    """
    named = [*enumerate(arguments.args), *sorted(arguments.kwargs.items())]
    return tuple((name, _shape_of(value, batch_dimension)) for name, value in named)


def joinable(calls: Sequence[Arguments], batch_dimension: int = 0) -> bool:
    """Whether the calls can become one, without changing what any of them means."""
    if len(calls) < 2:
        return True
    plainly = _plainly_joinable(calls, batch_dimension)
    if plainly is not None:
        return plainly
    first = signature_of_batch(calls[0], batch_dimension)
    if not any(_family(value) for value in (*calls[0].args, *calls[0].kwargs.values())):
        return False
    if any(_inner_rows_differ(call, batch_dimension) for call in calls):
        return False
    return all(_same(signature_of_batch(call, batch_dimension), first) for call in calls[1:])


def _plainly_joinable(calls: Sequence[Arguments], batch_dimension: int) -> bool | None:
    """Answer for calls of one argument that is a list or an array of numbers; None for others.

    It is what most calls are, and the signature of each would cost more than a small model.
    """
    shapes: list[Any] = []
    names = calls[0].kwargs.keys()
    for call in calls:
        args, kwargs = call.args, call.kwargs
        if len(args) + len(kwargs) != 1 or kwargs.keys() != names:
            return None
        value = args[0] if args else next(iter(kwargs.values()))
        if type(value) is list:
            shapes.append(list)
        elif _family(value) is _ARRAY and value.dtype.kind in _NUMBERS:
            shape = value.shape
            others = shape[:batch_dimension] + shape[batch_dimension + 1 :]
            shapes.append((value.dtype, len(shape), others))
        else:
            return None
    return shapes.count(shapes[0]) == len(shapes)


def join(calls: Sequence[Arguments], batch_dimension: int = 0) -> Arguments:
    """Return one call with the rows of all (see `joinable`)."""
    first = calls[0]
    if len(calls) == 1:
        return first
    args = tuple(
        _join([call.args[i] for call in calls], batch_dimension) for i in range(len(first.args))
    )
    kwargs = {
        name: _join([call.kwargs[name] for call in calls], batch_dimension) for name in first.kwargs
    }
    return Arguments(args, kwargs)


def split(result: Any, sizes: Sequence[int], batch_dimension: int = 0) -> list[Any]:
    """Return the result of a joined call in parts of these sizes.

    A mapping, tuple or object of columns is not a result with rows: a handler that batches returns
    an array, tensor, table, series or list.

    Raises:
        ResultError: the result has no rows, or another number of them (the service's fault).
    """
    family = _family(result)
    if family is None:
        raise ResultError(
            f"A batched call returned a {type(result).__name__}, which has no rows to hand out.",
            remedy="Return an array, tensor, table, series or list with a row for each input row.",
        )
    total, count = sum(sizes), family.rows(result, batch_dimension)
    if count != total:
        raise ResultError(
            f"A batched call returned {count} rows for {total}.",
            remedy="Return exactly one row for each input row, in order.",
        )
    ends = list(accumulate(sizes))
    cuts = zip([0, *ends[:-1]], ends, strict=True)
    return [family.cut(result, start, end, batch_dimension) for start, end in cuts]


def check_count(result: Any, arguments: Arguments, batch_dimension: int = 0) -> None:
    """Let the result of a call for one request through that has as many rows as the request.

    What has no rows to count passes: whether it fits is the return annotation's to say.

    Raises:
        ResultError: it has another number of rows (the service's fault).
    """
    family = _family(result)
    if family is None:
        return
    asked = {
        of.rows(value, batch_dimension)
        for value in (*arguments.args, *arguments.kwargs.values())
        if (of := _family(value)) is not None
    }
    count = family.rows(result, batch_dimension)
    if asked and count not in asked:
        raise ResultError(
            f"A batchable api returned {count} rows for {' or '.join(map(str, sorted(asked)))}.",
            remedy="Return exactly one row for each input row, in order, or remove batchable=True.",
        )


def without_rows(arguments: Arguments, batch_dimension: int = 0) -> str | int | None:
    """Return the argument that cannot be joined, by name or place: an array without that axis.

    One with no axis at all is an option, as long as another argument has rows.
    """
    named = [*enumerate(arguments.args), *arguments.kwargs.items()]
    others = any(has_rows(value) for _, value in named)
    for name, value in named:
        family = _family_of(type(value))
        if family is not _ARRAY and family is not _TENSOR:
            continue
        if value.ndim <= batch_dimension and (value.ndim or not others):
            return name
    return None


def has_rows(value: Any) -> bool:
    """Whether a value is counted, joined and cut by rows."""
    return _family(value) is not None


def is_dense(value: Any) -> bool:
    """Whether a value is an array or tensor with at least one dimension."""
    family = _family(value)
    return family is _ARRAY or family is _TENSOR


def join_values(values: Sequence[Any], axis: int) -> Any:
    """Return values of one kind that have rows as one, along this axis."""
    return _join(values, axis)


def cut_rows(value: Any, start: int, end: int, axis: int) -> Any:
    """Return part of a value that has rows."""
    family = _family(value)
    return value if family is None else family.cut(value, start, end, axis)


def _join(values: Sequence[Any], batch_dimension: int) -> Any:
    family = _family(values[0])
    return values[0] if family is None else family.join(values, batch_dimension)


def _family(value: Any) -> _Family | None:
    family = _family_of(type(value))
    if family is _ARRAY or family is _TENSOR:
        return family if value.ndim else None
    return family


@lru_cache(256)
def _family_of(kind: type) -> _Family | None:
    if kind is list:
        return _LIST
    module = kind.__module__.partition(".")[0]
    name = (module, kind.__name__)
    if name == ("numpy", "ndarray"):
        return _ARRAY
    if name == ("torch", "Tensor"):
        return _TENSOR
    return _TABLE_FAMILIES[module] if name in _TABLES else None


def _shape_of(value: Any, batch_dimension: int) -> Any:
    family = _family(value)
    if family is None:
        return value
    if family is _LIST:
        return list
    shape = getattr(value, "shape", ())
    if family in (_ARRAY, _TENSOR):
        others = tuple(n for i, n in enumerate(shape) if i != batch_dimension)
        # Text arrays differ in their item size and join all the same.
        text = getattr(value.dtype, "kind", None) in ("U", "S")
        dtype = value.dtype.kind if text else value.dtype
        return type(value), str(dtype), len(shape), others
    return type(value), _columns(value)


def _columns(table: Any) -> tuple[Any, ...]:
    """Names and types: joining a table with another's dtypes would change the values of one."""
    if hasattr(table, "schema"):
        schema = table.schema
        pairs = schema.items() if hasattr(schema, "items") else zip(schema.names, schema.types)  # noqa: B905
        return tuple((name, str(dtype)) for name, dtype in pairs)
    if hasattr(table, "columns"):
        names = [str(name) for name in table.columns]
        return tuple(zip(names, map(str, table.dtypes), strict=True))
    return (str(getattr(table, "dtype", getattr(table, "type", ""))),)


def _same(left: Any, right: Any) -> bool:
    """Compare plain values; what cannot be compared plainly is not the same."""
    try:
        return _typed(left) == _typed(right)
    except (TypeError, ValueError, RecursionError):
        return False


def _typed(value: Any) -> Any:
    """`1`, `1.0` and `True` are equal in Python and different arguments; NaN equals nothing."""
    if isinstance(value, tuple | list):
        return type(value), [_typed(item) for item in value]  # type: ignore[misc]
    if isinstance(value, Mapping):
        return type(value), {key: _typed(item) for key, item in value.items()}
    if isinstance(value, float) and math.isnan(value):
        raise ValueError
    return type(value), value


def _inner_rows_differ(call: Arguments, batch_dimension: int) -> bool:
    counts = {
        family.rows(value, batch_dimension)
        for value in (*call.args, *call.kwargs.values())
        if (family := _family(value)) is not None
    }
    return len(counts) > 1


def _length(value: Any, axis: int) -> int:
    return len(value)


def _size(value: Any, axis: int) -> int:
    return value.shape[axis] if axis < value.ndim else 0


def _cut_rows(value: Any, start: int, end: int, axis: int) -> Any:
    return value[start:end]


def _cut_axis(value: Any, start: int, end: int, axis: int) -> Any:
    return value[(slice(None),) * axis + (slice(start, end),)]


def _join_lists(values: Sequence[Any], axis: int) -> Any:
    return [item for value in values for item in value]


def _join_arrays(values: Sequence[Any], axis: int) -> Any:
    import numpy as np

    return np.concatenate(values, axis=axis)


def _join_tensors(values: Sequence[Any], axis: int) -> Any:
    import torch

    return torch.cat(tuple(values), dim=axis)


def _join_pandas(values: Sequence[Any], axis: int) -> Any:
    import pandas as pd

    return pd.concat(values, ignore_index=True)


def _cut_pandas(value: Any, start: int, end: int, axis: int) -> Any:
    # Each caller's rows begin at 0, as if theirs had been the only call.
    return value.iloc[start:end].reset_index(drop=True)


def _join_polars(values: Sequence[Any], axis: int) -> Any:
    import polars as pl

    return pl.concat(values)


def _join_arrow(values: Sequence[Any], axis: int) -> Any:
    import pyarrow as pa

    if isinstance(values[0], pa.ChunkedArray):
        return pa.chunked_array([chunk for value in values for chunk in value.chunks])
    tables = [v if isinstance(v, pa.Table) else pa.Table.from_batches([v]) for v in values]
    return pa.concat_tables(tables)


def _cut_arrow(value: Any, start: int, end: int, axis: int) -> Any:
    return value.slice(start, end - start)


_LIST = _Family(_length, _join_lists, _cut_rows)
_ARRAY = _Family(_size, _join_arrays, _cut_axis)
_TENSOR = _Family(_size, _join_tensors, _cut_axis)
_TABLE_FAMILIES = {
    "pandas": _Family(_length, _join_pandas, _cut_pandas),
    "polars": _Family(_length, _join_polars, _cut_rows),
    "pyarrow": _Family(_length, _join_arrow, _cut_arrow),
}
