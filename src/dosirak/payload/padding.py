"""Padding for models that were compiled for a few shapes, and taking it off again.

    rows      5 rows, allowed 4 or 8        → 8 rows: the last one repeated
    lengths   (2, 30) and (1, 50), buckets 32, 64 → (2, 64) and (1, 64): filled with the pad value

Rows that were added are cut off the result before anybody sees it. A result that is as long as the
bucket along the padded axis is cut to each caller's own length. Only arrays and tensors have
lengths; rows are added to whatever can be joined.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dosirak.payload.batching import cut_rows, has_rows, is_dense, join_values
from dosirak.payload.wire import Arguments


def fitting(size: int, allowed: Sequence[int]) -> int:
    """Return the smallest allowed size that holds this one; itself when none does.

    Args:
        size: what there is.
        allowed: sizes in ascending order.
    """
    at = bisect_left(allowed, size)
    return allowed[at] if at < len(allowed) else size


def pad_rows(arguments: Arguments, rows: int, more: int, batch_dimension: int = 0) -> Arguments:
    """Return a call with its last row repeated `more` times."""

    def pad(value: Any) -> Any:
        if not has_rows(value):
            return value
        last = cut_rows(value, rows - 1, rows, batch_dimension)
        return join_values([value, *[last] * more], batch_dimension)

    return _each(arguments, pad)


def length_of(arguments: Arguments, batch_dimension: int = 0) -> int:
    """Return the one length of a call's arrays: their size along the axis after the rows.

    0 when they have none, or differ: nobody could say then to which of them a result belongs.
    """
    lengths = {
        value.shape[batch_dimension + 1]
        for value in (*arguments.args, *arguments.kwargs.values())
        if _has_length(value, batch_dimension)
    }
    return lengths.pop() if len(lengths) == 1 else 0


def pad_length(
    arguments: Arguments, length: int, pad_value: float, batch_dimension: int = 0
) -> Arguments:
    """Return a call whose arrays have this length, filled with `pad_value` at their end."""

    def pad(value: Any) -> Any:
        if not _has_length(value, batch_dimension):
            return value
        axis = batch_dimension + 1
        missing = length - value.shape[axis]
        if missing <= 0:
            return value
        shape = (*value.shape[:axis], missing, *value.shape[axis + 1 :])
        return join_values([value, _filled(value, shape, pad_value)], axis)

    return _each(arguments, pad)


def cut_length(result: Any, padded: int, length: int, batch_dimension: int = 0) -> Any:
    """Return a result without what padding added to its length; others as they are."""
    axis = batch_dimension + 1
    if not _has_length(result, batch_dimension) or result.shape[axis] != padded:
        return result
    return cut_rows(result, 0, length, axis)


def _has_length(value: Any, batch_dimension: int) -> bool:
    return is_dense(value) and value.ndim > batch_dimension + 1


def _filled(like: Any, shape: tuple[int, ...], pad_value: float) -> Any:
    if hasattr(like, "new_full"):
        return like.new_full(shape, pad_value)
    import numpy as np

    return np.full(shape, pad_value, dtype=like.dtype)


def _each(arguments: Arguments, change: Callable[[Any], Any]) -> Arguments:
    kwargs: Mapping[str, Any] = {name: change(value) for name, value in arguments.kwargs.items()}
    return Arguments(tuple(change(value) for value in arguments.args), kwargs)
