"""polars DataFrames and Series from plain columns, and back (see `pandas_tables`).

Bytes from the wire never reach polars' own readers, which may panic on them: Arrow, Parquet and CSV
are read with pyarrow, or not offered.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

from dosirak.payload import arrow_tables
from dosirak.payload.columns import ColumnCells, DeclaredColumns, check_names
from dosirak.payload.problems import Problem, a_type

LIBRARY = "polars"


def polars_type(dtype: str | None) -> Any:
    """Return the polars type of a dtype name; None where it is open."""
    import polars as pl

    if dtype is None or dtype == "any":
        return None
    special = {"str": pl.String, "bool": pl.Boolean, "datetime": pl.Datetime("us", "UTC")}
    name = dtype.replace("uint", "UInt").replace("float", "Float")
    return special.get(dtype) or getattr(pl, name[:1].upper() + name[1:])


def from_columns(columns: ColumnCells, declared: DeclaredColumns | None) -> Any:
    """Make a DataFrame from checked columns."""
    import polars as pl

    dtypes = declared or {}
    return pl.DataFrame([_series(name, cells, dtypes.get(name)) for name, cells in columns.items()])


def _series(name: str, cells: list[Any], dtype: str | None) -> Any:
    import polars as pl

    wanted = polars_type(dtype)
    kinds = set(map(type, cells)) - {type(None)}
    if wanted is None and kinds == {int, float}:
        wanted = pl.Float64
    if dtype == "datetime":
        cells = [_with_zone(cell) for cell in cells]
    elif wanted is not None and wanted.is_float():
        cells = [cell if cell is None else float(cell) for cell in cells]
    try:
        return pl.Series(name, cells, dtype=wanted, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise Problem("the column mixes values of different types", field=name) from error


def _with_zone(cell: Any) -> Any:
    return cell if cell is None or cell.tzinfo else cell.replace(tzinfo=UTC)


def series_from(cells: list[Any], dtype: str | None) -> Any:
    """Make a Series from checked cells."""
    return _series("", cells, dtype)


def to_columns(table: Any) -> ColumnCells:
    """Return a DataFrame's columns as lists that msgspec can write."""
    return table.to_dict(as_series=False)


def to_cells(series: Any) -> list[Any]:
    """Return a Series as a list; nulls are None."""
    return series.to_list()


def as_table(value: Any) -> Any:
    """Return a handler's result as a DataFrame."""
    import polars as pl

    if isinstance(value, pl.DataFrame):
        return value
    if isinstance(value, pl.LazyFrame):
        return value.collect()
    if isinstance(value, pl.Series):
        return value.to_frame()
    try:
        return pl.DataFrame(value)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise Problem(f"{a_type(value)} cannot become a table") from error


def as_series(value: Any) -> Any:
    """Return a handler's result as a Series."""
    import polars as pl

    if isinstance(value, pl.Series):
        return value
    try:
        return pl.Series(value)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise Problem(f"{a_type(value)} cannot become a series") from error


def conform(table: Any, declared: DeclaredColumns | None) -> Any:
    """Return a DataFrame that came ready made with the declared columns and dtypes."""
    if declared is None:
        return table
    check_names(table.columns, declared)
    columns = [conform_series(table[name], dtype, name) for name, dtype in declared.items()]
    return table.select(columns)


def conform_series(series: Any, dtype: str | None, name: str = "") -> Any:
    """Return a Series in the dtype, where that changes no value's meaning."""
    import polars as pl

    wanted = polars_type(dtype)
    have = series.dtype
    if wanted is None or have == wanted:
        return series
    if not _reachable(series, wanted):
        raise Problem(f"expected {dtype}, got {have}", field=name)
    try:
        if wanted == pl.Datetime("us", "UTC") and have == pl.String:
            return series.str.to_datetime(time_unit="us", time_zone="UTC")
        if wanted == pl.Datetime("us", "UTC") and getattr(have, "time_zone", "") is None:
            return series.dt.replace_time_zone("UTC").cast(wanted)
        return series.cast(wanted)
    except pl.exceptions.PolarsError as error:
        raise Problem(f"a value is out of the range of {dtype}", field=name) from error


def _reachable(series: Any, wanted: Any) -> bool:
    import polars as pl

    have = series.dtype
    if have == pl.Null:
        return True
    if wanted.is_float():
        return have.is_numeric()
    if wanted.is_integer():
        return have.is_integer() and series.null_count() == 0
    if wanted.is_temporal():
        return have.is_temporal() or have == pl.String
    if wanted == pl.Boolean:
        return have == pl.Boolean and series.null_count() == 0
    return have in (pl.String, pl.Categorical, pl.Enum)


def from_arrow(table: Any) -> Any:
    """Make a DataFrame from a checked Arrow table."""
    import polars as pl

    try:
        return pl.from_arrow(table)
    except BaseException as error:
        # A panic in Rust is no Exception, and must not end the worker for one caller's bytes.
        if type(error).__name__ != "PanicException":
            raise
        raise Problem("the table cannot be read by polars") from error


def to_arrow(table: Any) -> Any:
    """Return the DataFrame as an Arrow table."""
    return table.to_arrow()


def read_csv(text: bytes, declared: DeclaredColumns | None) -> Any:
    """Make a DataFrame from CSV with a header line."""
    return from_arrow(arrow_tables.read_csv(text, declared))


def write_csv(table: Any) -> bytes:
    """Return CSV with a header line."""
    return table.write_csv().encode()
