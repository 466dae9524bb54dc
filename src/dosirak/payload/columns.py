"""A table in JSON or msgpack, read into plain columns before any library makes a table of it.

    records   [{"age": 41, "name": "Kim"}, …]
    columns   {"age": [41, …], "name": ["Kim", …]}
    split     {"columns": ["age", "name"], "data": [[41, "Kim"], …]}
    rows      [[41, "Kim"], …]            only where the hint declares the columns

Types come from JSON alone: text stays text, however much it looks like a number or a date, unless
the column is declared `datetime`. Declared columns must all be present, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple, cast

import msgspec

from dosirak.errors import FieldProblem
from dosirak.payload.leaf import json_type
from dosirak.payload.problems import MAX_PROBLEMS, Problem

ColumnCells = dict[str, list[Any]]
DeclaredColumns = Mapping[str, str | None]

MAX_COLUMNS = 10_000

# 2**53: beyond it, float64 no longer tells neighbouring integers apart.
EXACT_IN_FLOAT = 9_007_199_254_740_992

_NOTHING = type(None)
_DATETIMES = msgspec.json.Decoder(list[datetime | None])


class _Layout(NamedTuple):
    """The columns read, and how the place of a cell is written in this layout."""

    columns: ColumnCells
    place: Callable[[int, str], str]


def read_columns(value: Any, declared: DeclaredColumns | None) -> ColumnCells:
    """Return the columns of a JSON table, in the declared order, their cells checked.

    Raises:
        Problem: the value is no table, or does not fit the declared columns.
    """
    layout = _lay_out(value, declared)
    if len(layout.columns) > MAX_COLUMNS:
        # Each costs a library far more than the few bytes in which it came.
        raise Problem(f"the table has more than {MAX_COLUMNS} columns")
    if declared is None:
        return layout.columns
    columns = _declared_only(layout, declared)
    _check_declared(layout, columns, declared)
    return columns


def _lay_out(value: Any, declared: DeclaredColumns | None) -> _Layout:
    if type(value) is list:
        if not value or type(value[0]) is dict:
            return _from_records(value, declared)
        if type(value[0]) is list and declared is not None:
            return _from_rows(value, list(declared), "")
        if type(value[0]) is list:
            raise Problem(
                "a list of lists is a table only where the api declares its columns; send records"
            )
        raise Problem(f"expected an object, got {json_type(value[0])}", field="[0]")
    if type(value) is not dict:
        raise Problem(f"expected a table (a list of records or columns), got {json_type(value)}")
    if "columns" in value and "data" in value and value.keys() <= {"columns", "data", "index"}:
        return _from_split(value)
    return _from_columns(value)


def _from_records(records: list[Any], declared: DeclaredColumns | None) -> _Layout:
    def place(row: int, name: str) -> str:
        return f"[{row}].{name}"

    if not records:
        return _Layout({name: [] for name in declared or ()}, place)
    for row, record in enumerate(records):
        if type(record) is not dict:
            raise Problem(f"expected an object, got {json_type(record)}", field=f"[{row}]")
    names = records[0].keys()
    if all(record.keys() == names for record in records):
        return _Layout({name: [record[name] for record in records] for name in names}, place)
    if declared is not None:
        _check_record_keys(records, declared)
    every = dict.fromkeys(name for record in records for name in record)
    return _Layout({name: [record.get(name) for record in records] for name in every}, place)


def _check_record_keys(records: list[Any], declared: DeclaredColumns) -> None:
    """Records that differ in their keys: name each cell that is missing."""
    missing = [
        FieldProblem(f"[{row}].{name}", "is missing")
        for row, record in enumerate(records)
        for name in declared
        if name not in record
    ]
    if missing:
        raise Problem.of(missing[:MAX_PROBLEMS])


def _from_columns(value: dict[Any, Any]) -> _Layout:
    problems: list[FieldProblem] = []
    for name, cells in value.items():
        if type(cells) is not list:
            problems.append(FieldProblem(str(name), f"expected an array, got {json_type(cells)}"))
    lengths = {len(cells) for cells in value.values() if type(cells) is list}
    if len(lengths) > 1 and not problems:
        problems.append(FieldProblem("", "the columns have different lengths"))
    if problems:
        raise Problem.of(problems)

    def place(row: int, name: str) -> str:
        return f"{name}[{row}]"

    return _Layout({str(name): cells for name, cells in value.items()}, place)


def _from_split(value: dict[str, Any]) -> _Layout:
    names, rows = value["columns"], value["data"]
    if type(names) is not list or not all(type(name) is str for name in names):
        raise Problem("expected a list of names", field="columns")
    if len(set(names)) != len(names):
        raise Problem("a column name is repeated", field="columns")
    if type(rows) is not list:
        raise Problem(f"expected an array, got {json_type(rows)}", field="data")
    return _from_rows(rows, names, "data")


def _from_rows(rows: list[Any], names: list[str], prefix: str) -> _Layout:
    for row, cells in enumerate(rows):
        if type(cells) is not list or len(cells) != len(names):
            raise Problem(f"expected an array of {len(names)} values", field=f"{prefix}[{row}]")
    columns = {name: [cells[i] for cells in rows] for i, name in enumerate(names)}
    index = {name: i for i, name in enumerate(names)}

    def place(row: int, name: str) -> str:
        # A column that is missing has no place in the rows.
        return f"{prefix}[{row}][{index[name]}]" if name in index else name

    return _Layout(columns, place)


def _declared_only(layout: _Layout, declared: DeclaredColumns) -> ColumnCells:
    check_names(layout.columns, declared, lambda name: layout.place(0, name))
    return {name: layout.columns[name] for name in declared}


def check_names(
    names: Iterable[str], declared: DeclaredColumns, place: Callable[[str], str] = str
) -> None:
    """Compare a table's column names with the declared ones.

    Raises:
        Problem: one is missing, or unknown.
    """
    present = set(names)
    problems = [FieldProblem(place(name), "is missing") for name in declared if name not in present]
    unknown = [name for name in names if name not in declared]
    problems += [FieldProblem(place(str(name)), "is not a declared column") for name in unknown]
    if problems:
        raise Problem.of(problems[:MAX_PROBLEMS])


class _Kind(NamedTuple):
    """The Python types that JSON or msgpack may bring for a dtype, and its name for callers."""

    types: frozenset[type]
    words: str


_KINDS = {
    "float": _Kind(frozenset([float, int, _NOTHING]), "a number or null"),
    "int": _Kind(frozenset([int]), "an integer"),
    "uint": _Kind(frozenset([int]), "an integer"),
    "bool": _Kind(frozenset([bool]), "true or false"),
    "str": _Kind(frozenset([str, _NOTHING]), "text or null"),
    "datetime": _Kind(
        frozenset([str, datetime, date, _NOTHING]), "a time as ISO 8601 text or null"
    ),
}


def _check_declared(layout: _Layout, columns: ColumnCells, declared: DeclaredColumns) -> None:
    problems: list[FieldProblem] = []
    for name, dtype in declared.items():
        if dtype is not None and dtype != "any" and len(problems) < MAX_PROBLEMS:
            cells = columns[name]
            problems += check_cells(cells, dtype, lambda row, name=name: layout.place(row, name))
            if dtype == "datetime" and not problems:
                columns[name] = _datetimes(cells, lambda row, name=name: layout.place(row, name))
    if problems:
        raise Problem.of(problems[:MAX_PROBLEMS])


def check_cells(cells: list[Any], dtype: str, place: Callable[[int], str]) -> list[FieldProblem]:
    """Return a problem for each cell that the dtype cannot hold (at most `MAX_PROBLEMS`)."""
    kind = _KINDS[dtype.rstrip("0123456789")]
    problems: list[FieldProblem] = []
    if not kind.types.issuperset(map(type, cells)):
        wrong = (row for row, cell in enumerate(cells) if type(cell) not in kind.types)
        for row, _ in zip(wrong, range(MAX_PROBLEMS), strict=False):
            reason = f"expected {kind.words}, got {json_type(cells[row])}"
            problems.append(FieldProblem(place(row), reason))
    elif "int" in dtype and cells:
        problems += _check_range(cells, dtype, place)
    return problems


def _check_range(cells: list[int], dtype: str, place: Callable[[int], str]) -> list[FieldProblem]:
    bits = int(dtype.lstrip("uint"))
    low, high = (0, 2**bits - 1) if dtype[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if low <= min(cells) and max(cells) <= high:
        return []
    rows = (row for row, cell in enumerate(cells) if not low <= cell <= high)
    return [FieldProblem(place(row), f"is out of the range of {dtype}") for row in rows][
        :MAX_PROBLEMS
    ]


def _datetimes(cells: list[Any], place: Callable[[int], str]) -> list[datetime | None]:
    try:
        return msgspec.convert(cells, list[datetime | None])
    except msgspec.ValidationError:
        problems = [
            FieldProblem(place(row), "is not a time in ISO 8601")
            for row, cell in enumerate(cells)
            if not _is_datetime(cell)
        ]
        raise Problem.of(problems[:MAX_PROBLEMS]) from None


def _is_datetime(cell: Any) -> bool:
    try:
        msgspec.convert(cell, datetime | None)
    except msgspec.ValidationError:
        return False
    return True


def named_rows(value: Any, declared: DeclaredColumns | None) -> Any:
    """Return rows of cells (lists, tuples or a 2-D array) as declared columns; else `value`.

    Raises:
        Problem: a row has not one cell for each column.
    """
    if declared is None:
        return value
    if getattr(value, "ndim", 0) == 2 and hasattr(value, "tolist"):
        return _columns_of_array(value, declared)
    if not isinstance(value, list | tuple):
        return value
    rows = cast("Sequence[Any]", value)
    if rows and not _is_row(rows[0]):
        return rows
    for place, cells in enumerate(rows):
        if not _is_row(cells) or len(cells) != len(declared):
            raise Problem(f"expected an array of {len(declared)} values", field=f"[{place}]")
    return {name: [cells[i] for cells in rows] for i, name in enumerate(declared)}


def _is_row(cells: Any) -> bool:
    # A NamedTuple has names of its own.
    is_list = isinstance(cells, list | tuple) and not hasattr(cells, "_fields")
    return is_list or (getattr(cells, "ndim", 0) == 1 and hasattr(cells, "tolist"))


def _columns_of_array(array: Any, declared: DeclaredColumns) -> dict[str, Any]:
    if array.shape[1] != len(declared):
        raise Problem(f"expected rows of {len(declared)} values, got {array.shape[1]}")
    # Cells that are objects of Python say themselves what they are.
    cells = array.T.tolist() if str(array.dtype) == "object" else array.T
    return dict(zip(declared, cells, strict=True))


def records(columns: ColumnCells) -> list[dict[str, Any]]:
    """Return the columns as a list of records."""
    names = list(columns)
    if len(names) == 1:
        (name,) = names
        return [{name: cell} for cell in columns[name]]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def widest_integer(cells: list[Any]) -> int:
    """Return the largest magnitude among the integers of a column."""
    return max((abs(cell) for cell in cells if type(cell) is int), default=0)
