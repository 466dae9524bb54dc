"""Times in an Arrow table: only those that Python, and so a handler and JSON, can hold.

Arrow counts days, or fractions of seconds, in 32 or 64 bits, which reach far beyond the year 9999;
a library that is handed such a time fails late, and polars panics.
"""

from __future__ import annotations

import re
import zoneinfo
from typing import Any

from dosirak.payload.problems import Problem

# The first moment of the year 1 and the last second of 9999, from 1970 on; longest timedelta.
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
_LONGEST_S = 86_400 * 999_999_999
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_OFFSET = re.compile(r"[+-](?:[01]\d|2[0-3]):?[0-5]\d")


def check_zone(field: Any) -> None:
    """Refuse a timestamp in a time zone that is not known.

    Raises:
        Problem: it is in one.
    """
    zone = getattr(field.type, "tz", None)
    if zone is None or _OFFSET.fullmatch(zone):
        return
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Problem(f"the time zone {zone[:64]!r} is not known", field=field.name) from error


def check_times(table: Any) -> None:
    """Refuse times beyond the years 1 to 9999, however deep they are nested.

    Raises:
        Problem: a column holds one.
    """
    for name, column in zip(table.column_names, table.columns, strict=True):
        for chunk in column.chunks:
            if not _within_years(chunk):
                raise Problem("a time is outside of the years 1 to 9999", field=name)


def _within_years(array: Any) -> bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, types = array.type, pa.types
    if types.is_dictionary(kind):
        return _within_years(array.dictionary)
    if types.is_struct(kind):
        return all(map(_within_years, array.flatten()))
    if types.is_list(kind) or types.is_large_list(kind):
        return _within_years(array.flatten())
    limits = _limits(kind, types)
    if limits is None:
        return True
    counts = array.view(pa.int32() if types.is_date32(kind) else pa.int64())
    found: Any = pc.call_function("min_max", [counts])
    low, high = found["min"].as_py(), found["max"].as_py()
    return low is None or (limits[0] <= low and high <= limits[1])


def _limits(kind: Any, types: Any) -> tuple[int, int] | None:
    if types.is_date32(kind):
        return _FIRST_S // 86_400, _LAST_S // 86_400
    if types.is_date64(kind):
        return _FIRST_S * 1000, _LAST_S * 1000
    if types.is_timestamp(kind):
        # A day of room at each end: no time zone then leads out of the years.
        per_second = _PER_SECOND[kind.unit]
        room_s = 86_400 if kind.tz else 0
        return (_FIRST_S + room_s) * per_second, (_LAST_S - room_s + 1) * per_second - 1
    if types.is_duration(kind):
        per_second = _PER_SECOND[kind.unit]
        return -_LONGEST_S * per_second, _LONGEST_S * per_second
    return None
