"""Tables and series of pandas, polars and pyarrow.

In JSON a table arrives in any layout of `columns`, and leaves as a list of records; as a whole body
it is an Arrow IPC stream, Parquet or CSV. What the three libraries do differently is in
`pandas_tables`, `polars_tables` and `arrow_tables`; they have the same function names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, get_origin

from dosirak.payload import arrow_bodies, arrow_tables, pandas_tables, polars_tables
from dosirak.payload.annotations import Columns, DType
from dosirak.payload.arrays import example_element
from dosirak.payload.columns import (
    ColumnCells,
    DeclaredColumns,
    check_cells,
    named_rows,
    read_columns,
    records,
)
from dosirak.payload.csv_header import check_header
from dosirak.payload.leaf import Leaf, Written, type_problem
from dosirak.payload.media import ARROW, CSV, PARQUET, MediaRange
from dosirak.payload.problems import Problem
from dosirak.payload.scalars import decode_text, encode_text


class TableLibrary(Protocol):
    """What a library's file offers (see `pandas_tables`)."""

    # ruff: noqa: D102 - each is described in `pandas_tables`
    @property
    def LIBRARY(self) -> str: ...  # noqa: N802
    def from_columns(self, columns: ColumnCells, declared: DeclaredColumns | None) -> Any: ...
    def to_columns(self, table: Any) -> ColumnCells: ...
    def as_table(self, value: Any) -> Any: ...
    def conform(self, table: Any, declared: DeclaredColumns | None) -> Any: ...
    def series_from(self, cells: list[Any], dtype: str | None) -> Any: ...
    def as_series(self, value: Any) -> Any: ...
    def conform_series(self, series: Any, dtype: str | None, name: str = "") -> Any: ...
    def to_cells(self, series: Any) -> list[Any]: ...
    def from_arrow(self, table: Any) -> Any: ...
    def to_arrow(self, table: Any) -> Any: ...
    def read_csv(self, text: bytes, declared: DeclaredColumns | None) -> Any: ...
    def write_csv(self, table: Any) -> bytes: ...


class TableLeaf(Leaf):
    """One DataFrame or Table as its hint describes it."""

    kind = "table"
    raw_first = False
    compact = True
    is_file = False

    def __init__(self, library: TableLibrary, declared: DeclaredColumns | None) -> None:
        self.library = library
        self.declared = declared
        arrow = (ARROW, PARQUET) if arrow_bodies.available() else ()
        csv = (CSV,) if arrow or library.LIBRARY == "pandas" else ()
        self.media_types = (*arrow, *csv)

    def read(self, value: Any) -> Any:
        """Make the table from records, columns, split or declared rows."""
        return self.library.from_columns(read_columns(value, self.declared), self.declared)

    def write(self, value: Any) -> Any:
        """Return a list of records."""
        return records(self.library.to_columns(self._conform(value)))

    def schema(self) -> dict[str, Any]:
        """Return an array of records; the other layouts are described in words."""
        properties = {name: _cell_schema(dtype) for name, dtype in (self.declared or {}).items()}
        items: dict[str, Any] = {"type": "object"}
        if self.declared is not None:
            items |= {"properties": properties, "required": list(self.declared)}
            items["additionalProperties"] = False
            items |= {"examples": [{n: example_element(d) for n, d in self.declared.items()}]}
        schema = {"type": "array", "items": items, "x-dosirak-type": self.kind}
        schema["x-dosirak-library"] = self.library.LIBRARY
        if self.declared is not None:
            schema["x-dosirak-columns"] = dict(self.declared)
        return schema

    def takes(self, media: MediaRange) -> bool:
        """Whether this is Arrow, Parquet or CSV."""
        return media.name in self.media_types

    def load(self, body: memoryview, media: MediaRange) -> Any:
        """Read a whole body."""
        if media.name == ARROW:
            table = self._from_arrow(arrow_bodies.load_arrow(body))
        elif media.name == PARQUET:
            table = self._from_arrow(arrow_bodies.load_parquet(body))
        else:
            table = self._load_csv(body, media)
        return self.library.conform(table, self.declared)

    def _from_arrow(self, table: Any) -> Any:
        try:
            return self.library.from_arrow(table)
        except Problem:
            raise
        except Exception as error:
            # Each library has exceptions of its own for Arrow types that it lacks.
            raise Problem(f"the table holds a type that {self.library.LIBRARY} lacks") from error

    def _load_csv(self, body: memoryview, media: MediaRange) -> Any:
        text = decode_text(body, media).removeprefix("\ufeff")
        check_header(text)
        try:
            return self.library.read_csv(encode_text(text), self.declared)
        except Exception as error:
            # Each library has exceptions of its own for text that is no table.
            raise Problem("the body is not CSV that can be read") from error

    def dump(self, value: Any, media_type: str) -> Written:
        """Write a whole body."""
        table = self._conform(value)
        if media_type == CSV:
            return Written(self.library.write_csv(table), f"{CSV}; charset=utf-8")
        arrow = self.library.to_arrow(table)
        write = arrow_bodies.dump_arrow if media_type == ARROW else arrow_bodies.dump_parquet
        return Written(write(arrow), media_type)

    def _conform(self, value: Any) -> Any:
        # Callers may hand over rows as they may send them.
        rows = named_rows(value, self.declared)
        return self.library.conform(self.library.as_table(rows), self.declared)


class SeriesLeaf(Leaf):
    """One Series: a list in JSON."""

    kind = "series"

    def __init__(self, library: TableLibrary, dtype: str | None) -> None:
        self.library = library
        self.dtype = dtype

    def read(self, value: Any) -> Any:
        """Make the series from a list."""
        if type(value) is not list:
            raise type_problem("an array", value)
        if self.dtype not in (None, "any"):
            problems = check_cells(value, self.dtype, lambda row: f"[{row}]")
            if problems:
                raise Problem.of(problems)
        return self.library.series_from(value, self.dtype)

    def write(self, value: Any) -> Any:
        """Return a list."""
        series = self.library.conform_series(self.library.as_series(value), self.dtype)
        return self.library.to_cells(series)

    def schema(self) -> dict[str, Any]:
        """Return an array of cells."""
        schema: dict[str, Any] = {"type": "array", "items": _cell_schema(self.dtype)}
        schema |= {"x-dosirak-type": self.kind, "x-dosirak-library": self.library.LIBRARY}
        if self.dtype is not None:
            schema["x-dosirak-dtype"] = self.dtype
        return schema


_LIBRARIES: dict[tuple[str, str], tuple[TableLibrary, type[TableLeaf] | type[SeriesLeaf]]] = {
    ("pandas", "DataFrame"): (pandas_tables, TableLeaf),
    ("pandas", "Series"): (pandas_tables, SeriesLeaf),
    ("polars", "DataFrame"): (polars_tables, TableLeaf),
    ("polars", "Series"): (polars_tables, SeriesLeaf),
    ("pyarrow", "Table"): (arrow_tables, TableLeaf),
}


def recognise(hint: Any, annotations: Sequence[Any]) -> Leaf | None:
    """Return the leaf of a DataFrame, Series or Table hint."""
    kind = get_origin(hint) or hint
    module = str(getattr(kind, "__module__", "")).partition(".")[0]
    found = _LIBRARIES.get((module, getattr(kind, "__name__", "")))
    if found is None:
        return None
    library, leaf = found
    dtype = next((a.name for a in annotations if isinstance(a, DType)), None)
    if leaf is SeriesLeaf:
        return SeriesLeaf(library, dtype)
    columns = next((a for a in annotations if isinstance(a, Columns)), None)
    if columns is None:
        return TableLeaf(library, None)
    return TableLeaf(library, {name: own or dtype for name, own in columns.dtypes.items()})


def _cell_schema(dtype: str | None) -> dict[str, Any]:
    if dtype is None or dtype == "any":
        return {}
    if dtype.startswith("float"):
        return {"type": ["number", "null"]}
    if "int" in dtype:
        return {"type": "integer"}
    if dtype == "datetime":
        return {"type": ["string", "null"], "format": "date-time"}
    return {"type": "boolean"} if dtype == "bool" else {"type": ["string", "null"]}
