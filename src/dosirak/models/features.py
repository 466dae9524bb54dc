"""Rows as a model was trained on them: columns by name and order, arrays by width.

Pure functions over anything with `columns` (a table) or `shape` (an array); no library is imported.
A row that does not fit is the remote caller's fault and says which column.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from dosirak.errors import FieldProblem, InvalidInput
from dosirak.models.framework import ModelMethod
from dosirak.payload.annotations import Columns, Shape

PARAMETER = "inputs"
# Beyond this many columns their names are checked when the model is called, not in the schema.
_MOST_DECLARED = 2000
_LONGEST_REASON = 200
_PATH = re.compile(r"(?:^|[\s'\"(])(?:/|[A-Za-z]:\\)\w|\b0x[0-9a-f]{6,}|\.(?:py|cc|cpp|h):\d")


def row_method(name: str, input_hint: Any, output_hint: Any) -> ModelMethod:
    """Return a method that takes rows and gives one result for each."""
    return ModelMethod(name, PARAMETER, input_hint, output_hint)


def rows_hint(
    numpy: Any,
    pandas: Any | None,
    *,
    names: Sequence[str] = (),
    width: int | None = None,
    dtypes: Mapping[str, str] | None = None,
) -> Any:
    """Return the hint of a model's rows, as definite as the model knows.

    Args:
        numpy: the library.
        pandas: the library where it is installed; without it named features come as arrays.
        names: the features' names; a table with exactly these columns is asked for.
        width: how many features there are.
        dtypes: the columns whose type is certain.
    """
    if names and pandas is not None:
        if len(names) > _MOST_DECLARED or len(set(names)) != len(names):
            return pandas.DataFrame
        known = dtypes or {}
        return Annotated[
            pandas.DataFrame, Columns.from_mapping({name: known.get(name) for name in names})
        ]
    return numpy.ndarray if width is None else Annotated[numpy.ndarray, Shape(None, width)]


@contextmanager
def taking_rows(*errors: type[Exception]) -> Generator[None]:
    """Run a library's own call on a caller's rows: what it refuses is the caller's to correct.

    There is no code of an author here, so an error that a library raises for values it cannot take
    (text among numbers, NaN, an unknown category) says something about the rows.

    Raises:
        InvalidInput: the library raised one of `errors`, or ValueError, TypeError or KeyError.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, *errors) as error:
        reason = _first_words(error)
        raise InvalidInput(
            f"The model cannot take these rows: {reason}.",
            remedy="Send rows like those the model was trained on.",
            fields=[FieldProblem(PARAMETER, reason)],
        ) from error


def _first_words(error: Exception) -> str:
    """Return a library's first sentence, unless it speaks of the server's own files."""
    text = next(iter(str(error).splitlines()), "").strip().rstrip(".:")
    if not text or _PATH.search(text):
        return "the library refuses them"
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"


def fitting_rows(value: Any, *, names: Sequence[str] = (), width: int | None = None) -> Any:
    """Return `value` with the columns that the model expects, in its order.

    Args:
        value: a table with `columns`, or an array with `shape`; anything else is returned as is.
        names: the model's feature names; empty when it was trained without.
        width: how many features it expects; None when unknown.

    Raises:
        InvalidInput: a column is missing, or the rows have another width.
    """
    if hasattr(value, "columns"):
        return _fitting_table(value, tuple(names), width)
    if hasattr(value, "shape"):
        _check_array(value, width if width is not None else len(names) or None)
    return value


def _fitting_table(table: Any, names: tuple[str, ...], width: int | None) -> Any:
    columns = tuple(table.columns)
    if not names:
        _check_width(len(columns), width)
        return table
    if columns == names:
        return table
    if all(isinstance(column, int) for column in columns):  # rows that came without names
        _check_width(len(columns), len(names))
        return table.set_axis(list(names), axis=1)
    missing = sorted(set(names) - set(columns))
    if missing:
        raise InvalidInput(
            f"The rows have no column {', '.join(repr(name) for name in missing)}.",
            remedy=f"Send the columns {', '.join(repr(name) for name in names)}.",
            fields=[FieldProblem(f"{PARAMETER}.{name}", "is missing") for name in missing],
        )
    return table[list(names)]


def _check_array(array: Any, width: int | None) -> None:
    if len(array.shape) != 2:
        raise InvalidInput(
            f"The model takes a list of rows, and this has {len(array.shape)} dimensions.",
            remedy="Send a list of lists, one for each row.",
            fields=[FieldProblem(PARAMETER, "must have two dimensions")],
        )
    _check_width(array.shape[1], width)


def _check_width(found: int, width: int | None) -> None:
    if width is not None and found != width:
        raise InvalidInput(
            f"Each row must hold {width} values, and these hold {found}.",
            remedy="Send one value for each feature the model was trained on.",
            fields=[FieldProblem(PARAMETER, f"must be {width} wide")],
        )


def named_rows(value: Any, names: Sequence[str], pandas: Any | None) -> Any:
    """Return an array as a table with the model's names, for models that insist on them."""
    if not names or pandas is None or hasattr(value, "columns") or not hasattr(value, "shape"):
        return value
    return pandas.DataFrame(value, columns=list(names))


def plain_array(result: Any, numpy: Any) -> Any:
    """Return a result as an array that a wire can carry: dense, and text not as objects."""
    dense = result.toarray() if hasattr(result, "toarray") else result
    array = numpy.asarray(dense)
    return numpy.asarray(array.tolist()) if array.dtype == object else array
