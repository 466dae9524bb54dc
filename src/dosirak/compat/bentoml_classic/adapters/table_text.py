"""Parsed JSON or CSV text → a pandas DataFrame with a fresh index, or `WrongTable`.

Rows keep their JSON types: a string stays a string, `"00123"` included. Only `dtype` converts.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Columns = Sequence[str] | None
Rows = tuple[list[list[Any]], list[Any] | None]

ORIENTS = ("columns", "index", "records", "split", "values")


class WrongTable(ValueError):
    """The text is not the table that the api expects; `reason` says which part."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def table_from_json(value: Any, *, orient: str | None, columns: Columns, dtype: Any) -> Any:
    """Make a table of parsed JSON.

    Raises:
        WrongTable: the value is not a table in the orient (the remote caller's fault).
    """
    possible = possible_orients(value)
    if not possible:
        raise WrongTable("a table is a list or an object")
    if orient is not None and orient not in possible:
        raise WrongTable(f"it is not in the orient {orient!r}")
    chosen = orient or possible[0]
    try:
        rows, names = _READERS[chosen](value, columns)
    except (TypeError, AttributeError, IndexError, StopIteration) as error:
        reason = f"it is not a table in the orient {chosen!r}" if value else "it has no rows"
        raise WrongTable(reason) from error
    except KeyError as error:
        raise WrongTable(f"{error.args[0]!r} is missing") from error
    if not rows:
        raise WrongTable("it has no rows")
    return _frame(rows, names, dtype)


def possible_orients(value: Any) -> tuple[str, ...]:
    """Return the orients that the value may be in, the likeliest first."""
    if isinstance(value, list):
        if not value:
            return ("records", "values")
        return ("records",) if isinstance(value[0], dict) else ("values",)
    if isinstance(value, dict):
        return ("split",) if set(value) == {"columns", "index", "data"} else ("columns", "index")
    return ()


def _records(value: list[dict[str, Any]], columns: Columns) -> Rows:
    names = list(columns or value[0])
    return [[record[name] for name in names] for record in value], names


def _values(value: list[list[Any]], columns: Columns) -> Rows:
    rows = [_as_list(row) for row in value]
    width = len(columns) if columns else len(rows[0])
    if any(len(row) != width for row in rows):
        raise WrongTable(f"each row needs {width} values")
    return rows, list(columns) if columns else None


def _columns(value: dict[str, Any], columns: Columns) -> Rows:
    names = list(columns or value)
    first = value[names[0]]
    labels: Iterable[Any] = first if isinstance(first, dict) else range(len(_as_list(first)))
    if not isinstance(first, dict) and any(len(_as_list(value[n])) != len(first) for n in names):
        raise WrongTable("the columns are of different length")
    return [[value[name][label] for name in names] for label in labels], names


def _index(value: dict[str, dict[str, Any]], columns: Columns) -> Rows:
    return _records(list(value.values()), columns)


def _split(value: dict[str, Any], columns: Columns) -> Rows:
    given = _as_list(value["columns"])
    rows = [_as_list(row) for row in value["data"]]
    if any(len(row) != len(given) for row in rows):
        raise WrongTable(f"each row needs {len(given)} values")
    names = list(columns or given)
    place = {name: number for number, name in enumerate(given)}
    places = [place[name] for name in names]
    return [[row[number] for number in places] for row in rows], names


_READERS: Mapping[str, Callable[[Any, Columns], Rows]] = {
    "records": _records,
    "values": _values,
    "columns": _columns,
    "index": _index,
    "split": _split,
}


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _frame(rows: list[list[Any]], names: list[Any] | None, dtype: Any) -> Any:
    import pandas as pd  # noqa: PLC0415 - ADR 0004

    try:
        table = pd.DataFrame(rows, columns=names)
        return table if dtype is None else table.astype(_by_column(dtype, table))
    except KeyError as error:
        raise WrongTable("a column named in dtype is missing") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise WrongTable("a value does not fit its dtype") from error


def _by_column(dtype: Any, table: Any) -> Any:
    """Turn positions in a dtype mapping into the table's column names."""
    if not isinstance(dtype, Mapping):
        return dtype
    names = list(table.columns)
    return {
        names[key] if isinstance(key, int) and key not in names and key < len(names) else key: kind
        for key, kind in dtype.items()
    }


def table_from_csv(text: str, *, columns: Columns, dtype: Any) -> Any:
    """Make a table of CSV text with a header row.

    Raises:
        WrongTable: the text is not such a table (the remote caller's fault).
    """
    import pandas as pd  # noqa: PLC0415 - ADR 0004

    try:
        table = pd.read_csv(io.StringIO(text), index_col=None, dtype=dtype)
    except pd.errors.EmptyDataError as error:
        raise WrongTable("it has no rows") from error
    except pd.errors.ParserError as error:
        raise WrongTable("a row has another number of values than the header has names") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise WrongTable("a value does not fit its dtype") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise WrongTable("a row has more values than the header has names")
    missing = [name for name in columns or () if name not in table.columns]
    if missing:
        raise WrongTable(f"{missing[0]!r} is missing")
    if table.empty:
        raise WrongTable("it has no rows")
    return table if columns is None else table[list(columns)]
