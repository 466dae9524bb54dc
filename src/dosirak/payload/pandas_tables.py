"""pandas DataFrames and Series from plain columns, and back.

The same function names as `polars_tables` and `arrow_tables`; `tables` chooses among them.
Integers that stand beside nulls become float64, as pandas does, unless that would change one: then
the column is `Int64`.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

from dosirak.payload.columns import (
    EXACT_IN_FLOAT,
    ColumnCells,
    DeclaredColumns,
    check_names,
    widest_integer,
)
from dosirak.payload.problems import Problem, a_type

LIBRARY = "pandas"
_ONLY_FLOATS = {float}
_PLAIN_KINDS = ({float}, {int}, {bool})
# What is remembered for callers is bounded in number and in size.
_REMEMBERED_INDEXES = 64
_MOST_NAMES = 256
_LONGEST_NAMES = 8192


def from_columns(columns: ColumnCells, declared: DeclaredColumns | None) -> Any:
    """Make a DataFrame from checked columns."""
    import numpy as np
    import pandas as pd

    dtypes = declared or {}
    kinds = set(dtypes.values())
    if (
        columns
        and kinds <= {None, "float64"}
        and all(_ONLY_FLOATS.issuperset(map(type, cells)) for cells in columns.values())
    ):
        # One block of float64 is what most models take, and much the fastest to make.
        block = np.array(list(columns.values()), dtype=np.float64)
        return pd.DataFrame(block.T, columns=_index(tuple(columns)), copy=False)
    arrays = (_cells(cells, dtypes.get(name)) for name, cells in columns.items())
    frame = pd.DataFrame(dict(enumerate(arrays)), copy=False)
    frame.columns = _index(tuple(columns))
    return frame


def _index(names: tuple[str, ...]) -> Any:
    """Making an index of names costs more than the rest of a small table; callers repeat them."""
    if len(names) > _MOST_NAMES or sum(map(len, names)) > _LONGEST_NAMES:
        return _make_index(names)
    return _remembered_index(names)


def _make_index(names: tuple[str, ...]) -> Any:
    import pandas as pd

    return pd.Index(names, dtype="str" if pd.__version__ >= "3" else "object")


_remembered_index = lru_cache(_REMEMBERED_INDEXES)(_make_index)


def series_from(cells: list[Any], dtype: str | None) -> Any:
    """Make a Series from checked cells."""
    import pandas as pd

    return pd.Series(_cells(cells, dtype), copy=False)


def _cells(cells: list[Any], dtype: str | None) -> Any:
    import numpy as np
    import pandas as pd

    if dtype is None or dtype == "any":
        kinds = set(map(type, cells))
        if kinds in _PLAIN_KINDS:
            return np.array(cells)
        nullable = None in cells and widest_integer(cells) > EXACT_IN_FLOAT
        if nullable and kinds == {int, type(None)}:
            return pd.array(cells, dtype="Int64")
        return pd.Series(cells, dtype=None if cells else "object")
    if dtype == "str":
        return pd.Series(cells, dtype="str")
    if dtype == "datetime":
        return pd.Series(pd.to_datetime(cells, format="ISO8601"))
    return np.array(cells, dtype=dtype)


def to_columns(table: Any) -> ColumnCells:
    """Return a DataFrame's columns as lists that msgspec can write."""
    names = [str(name) for name in table.columns]
    if len(set(names)) != len(names):
        raise Problem("two columns of the table have the same name")
    dtypes = set(table.dtypes)
    if len(dtypes) == 1 and _is_plain(next(iter(dtypes))):
        return dict(zip(names, table.to_numpy().T.tolist(), strict=True))
    return {name: to_cells(table.iloc[:, i]) for i, name in enumerate(names)}


def _is_plain(dtype: Any) -> bool:
    """Whether this is a number or boolean of numpy's own, with no missing value but NaN."""
    return dtype.kind in "biuf" and not hasattr(dtype, "na_value")


def to_cells(series: Any) -> list[Any]:
    """Return a Series as a list; missing values are None."""
    if _is_plain(series.dtype):
        return series.tolist()
    cells = series.astype(object)
    return cells.where(series.notna(), None).tolist()


def as_table(value: Any) -> Any:
    """Return a handler's result as a DataFrame.

    Raises:
        Problem: it is no table.
    """
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        return value
    if isinstance(value, pd.Series):
        return value.to_frame(name="0" if value.name is None else value.name)
    try:
        return pd.DataFrame(value)
    except (ValueError, TypeError) as error:
        raise Problem(f"{a_type(value)} cannot become a table") from error


def as_series(value: Any) -> Any:
    """Return a handler's result as a Series."""
    import pandas as pd

    if isinstance(value, pd.Series):
        return value
    try:
        return pd.Series(value)
    except (ValueError, TypeError) as error:
        raise Problem(f"{a_type(value)} cannot become a series") from error


def conform(table: Any, declared: DeclaredColumns | None) -> Any:
    """Return a DataFrame that came ready made with the declared columns and dtypes.

    Raises:
        Problem: a column is missing, unknown, or of another kind.
    """
    if declared is None:
        return table
    check_names([str(name) for name in table.columns], declared)
    typed = {name: dtype for name, dtype in declared.items() if dtype not in (None, "any")}
    table = table[list(declared)]
    changed = {
        name: conform_series(table[name], dtype, name)
        for name, dtype in typed.items()
        if str(table[name].dtype) != dtype
    }
    return table.assign(**changed) if changed else table


def conform_series(series: Any, dtype: str | None, name: str = "") -> Any:
    """Return a Series in the dtype, where that changes no value's meaning."""
    import pandas as pd

    if dtype is None or dtype == "any" or str(series.dtype) == dtype:
        return series
    if isinstance(series.dtype, pd.CategoricalDtype):
        # Categories are a way to hold values; which values they are is what counts.
        return conform_series(series.astype(object).infer_objects(), dtype, name)
    if not _reachable(series, dtype):
        raise Problem(f"expected {dtype}, got {series.dtype}", field=name)
    if dtype == "datetime":
        return series if series.dtype.kind == "M" else pd.to_datetime(series, format="ISO8601")
    if dtype.startswith("float"):
        return (
            series.astype(dtype)
            if series.dtype.kind in "iuf"
            else series.astype("Float64").astype(dtype)
        )
    converted = series.astype(dtype)
    if "int" in dtype and not (converted.astype(object) == series.astype(object)).all():
        raise Problem(f"a value is out of the range of {dtype}", field=name)
    return converted


def _reachable(series: Any, dtype: str) -> bool:
    """Whether values of the series' kind are values of the dtype's kind."""
    import pandas as pd

    types = pd.api.types
    if series.isna().all() and dtype.startswith(("float", "str", "datetime")):
        return True
    if dtype.startswith("float"):
        return types.is_numeric_dtype(series.dtype) and not types.is_bool_dtype(series.dtype)
    if "int" in dtype:
        return types.is_integer_dtype(series.dtype) and not series.hasnans
    if dtype == "bool":
        return types.is_bool_dtype(series.dtype) and not series.hasnans
    if dtype == "datetime":
        return types.is_datetime64_any_dtype(series.dtype) or types.is_string_dtype(series.dtype)
    return types.is_string_dtype(series.dtype) or types.is_object_dtype(series.dtype)


def from_arrow(table: Any) -> Any:
    """Make a DataFrame from a checked Arrow table."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    frame = table.to_pandas(ignore_metadata=True, date_as_object=True)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_integer(column.type) and column.null_count:
            limits: Any = pc.call_function("min_max", [column])
            widest = max(abs(limit or 0) for limit in limits.as_py().values())
            if widest > EXACT_IN_FLOAT:
                frame[name] = pd.array(column.to_pylist(), dtype="Int64")
    return frame


def to_arrow(table: Any) -> Any:
    """Return the DataFrame as an Arrow table, without its index."""
    import pyarrow as pa

    named = table.set_axis([str(name) for name in table.columns], axis="columns")
    return pa.Table.from_pandas(named, preserve_index=False)


def read_csv(text: bytes, declared: DeclaredColumns | None) -> Any:
    """Make a DataFrame from CSV with a header line; declared text stays text."""
    import pandas as pd

    dtypes = (declared or {}).items()
    as_text = {name: "str" for name, dtype in dtypes if dtype in ("str", "datetime")}
    # Before pandas 3 the default may miss the nearest float by one.
    exact: Any = {"float_precision": "round_trip"} if pd.__version__.startswith("2.") else {}
    options: Any = {"dtype": as_text or None, **exact}
    return pd.read_csv(io.BytesIO(text), **options)


def write_csv(table: Any) -> bytes:
    """Return CSV with a header line and no index."""
    return table.to_csv(index=False, lineterminator="\n").encode()
