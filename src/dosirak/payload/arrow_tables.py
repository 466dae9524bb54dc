"""pyarrow Tables from plain columns, and back (the same functions as `pandas_tables`)."""

from __future__ import annotations

from typing import Any

from dosirak.payload.columns import ColumnCells, DeclaredColumns, check_names
from dosirak.payload.problems import Problem, a_type

LIBRARY = "pyarrow"


def arrow_type(dtype: str | None) -> Any:
    """Return the Arrow type of a dtype name; None where it is open."""
    import pyarrow as pa

    if dtype is None or dtype == "any":
        return None
    special = {"str": pa.string(), "bool": pa.bool_(), "datetime": pa.timestamp("us", tz="UTC")}
    return special.get(dtype) or getattr(pa, dtype)()


def from_columns(columns: ColumnCells, declared: DeclaredColumns | None) -> Any:
    """Make a Table from checked columns."""
    import pyarrow as pa

    dtypes = declared or {}
    return pa.table(
        {name: _array(cells, dtypes.get(name), name) for name, cells in columns.items()}
    )


def _array(cells: list[Any], dtype: str | None, name: str) -> Any:
    import pyarrow as pa

    try:
        return pa.array(cells, type=arrow_type(dtype))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise Problem("the column mixes values of different types", field=name) from error


def series_from(cells: list[Any], dtype: str | None) -> Any:
    """Make an Array from checked cells."""
    return _array(cells, dtype, "")


def to_columns(table: Any) -> ColumnCells:
    """Return a Table's columns as lists that msgspec can write."""
    names = table.column_names
    if len(set(names)) != len(names):
        raise Problem("two columns of the table have the same name")
    return dict(zip(names, (to_cells(column) for column in table.columns), strict=True))


def to_cells(series: Any) -> list[Any]:
    """Return an Array as a list; nulls are None."""
    return series.to_pylist()


def as_table(value: Any) -> Any:
    """Return a handler's result as a Table."""
    import pyarrow as pa

    if isinstance(value, pa.Table):
        return value
    try:
        if isinstance(value, pa.RecordBatch):
            return pa.Table.from_batches([value])
        if isinstance(value, dict):
            return pa.table(value)
        if isinstance(value, list):
            return pa.Table.from_pylist(value)
        if hasattr(value, "to_arrow"):
            return value.to_arrow()
        return pa.Table.from_pandas(value, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError, AttributeError) as error:
        raise Problem(f"{a_type(value)} cannot become a table") from error


def as_series(value: Any) -> Any:
    """Return a handler's result as an Array."""
    import pyarrow as pa

    if isinstance(value, pa.Array | pa.ChunkedArray):
        return value
    try:
        return pa.array(value)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise Problem(f"{a_type(value)} cannot become an array") from error


def conform(table: Any, declared: DeclaredColumns | None) -> Any:
    """Return a Table that came ready made with the declared columns and dtypes."""
    if declared is None:
        return table
    check_names(table.column_names, declared)
    import pyarrow as pa

    columns = {name: conform_series(table[name], dtype, name) for name, dtype in declared.items()}
    return pa.table(columns)


def conform_series(series: Any, dtype: str | None, name: str = "") -> Any:
    """Return an Array in the dtype, where that changes no value's meaning."""
    import pyarrow as pa

    wanted = arrow_type(dtype)
    if wanted is None or series.type == wanted:
        return series
    if not _reachable(series, wanted):
        raise Problem(f"expected {dtype}, got {series.type}", field=name)
    try:
        return series.cast(wanted, safe=not pa.types.is_floating(wanted))
    except pa.ArrowException as error:
        raise Problem(f"a value is out of the range of {dtype}", field=name) from error


def _reachable(series: Any, wanted: Any) -> bool:
    import pyarrow as pa

    types, have = pa.types, series.type
    if types.is_null(have):
        return True
    if types.is_dictionary(have):
        have = have.value_type
    if types.is_floating(wanted):
        return types.is_floating(have) or types.is_integer(have) or types.is_decimal(have)
    if types.is_integer(wanted):
        return types.is_integer(have) and series.null_count == 0
    if types.is_timestamp(wanted):
        return types.is_timestamp(have) or types.is_date(have) or _is_text(types, have)
    if types.is_boolean(wanted):
        return types.is_boolean(have) and series.null_count == 0
    return _is_text(types, have)


def _is_text(types: Any, have: Any) -> bool:
    return types.is_string(have) or types.is_large_string(have) or types.is_string_view(have)


def from_arrow(table: Any) -> Any:
    """Return the table itself."""
    return table


def to_arrow(table: Any) -> Any:
    """Return the table itself."""
    return table


def read_csv(text: bytes, declared: DeclaredColumns | None) -> Any:
    """Make a Table from CSV with a header line; declared text stays text."""
    import pyarrow as pa
    from pyarrow import csv

    as_text = {n: pa.string() for n, dtype in (declared or {}).items() if dtype == "str"}
    options = csv.ConvertOptions(column_types=as_text, strings_can_be_null=True)
    return csv.read_csv(
        pa.py_buffer(text),
        read_options=csv.ReadOptions(use_threads=False),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=options,
    )


def write_csv(table: Any) -> bytes:
    """Return CSV with a header line."""
    import pyarrow as pa
    from pyarrow import csv

    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink)
    return sink.getvalue().to_pybytes()
