"""How numbers, times and sizes are written for people. Pure.

What is not known is a dash, and never a zero.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

UNKNOWN = "–"
_UNITS = ("B", "kB", "MB", "GB", "TB")
_SPANS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_JUST_NOW_S = 5
_TEN, _HUNDRED, _THOUSAND = 10, 100, 1000


def rate_text(value: float | None) -> str:
    """Write a number per second: `0`, `0.42`, `7.3`, `772`, `12,400`."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if value == 0:
        return "0"
    if value < 1:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < _TEN else f"{value:,.0f}"


def milliseconds_text(value: float | None) -> str:
    """Write a latency: `0.84 ms`, `12 ms`, `1.9 s`."""
    if value is None or math.isnan(value):
        return UNKNOWN
    if value >= _THOUSAND:
        return f"{value / _THOUSAND:.1f} s"
    return f"{value:.0f} ms" if value >= _TEN else f"{value:.2g} ms"


def percent_text(part: float, whole: float) -> str:
    """Write a share; a share that is not none is never written as none."""
    if math.isnan(part) or math.isnan(whole) or whole <= 0:
        return UNKNOWN
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "<0.1 %"
    return f"{share:.0f} %" if share in (0, 100) or share >= _TEN else f"{share:.1f} %"


def size_text(size_bytes: float) -> str:
    """Write a size: `912 B`, `3.4 MB`."""
    value = float(size_bytes)
    for unit in _UNITS[:-1]:
        if value < _THOUSAND:
            return (
                f"{value:.0f} {unit}" if value >= _HUNDRED or unit == "B" else f"{value:.1f} {unit}"
            )
        value /= _THOUSAND
    return f"{value:.1f} {_UNITS[-1]}"


def ago_text(at: datetime, now: datetime) -> str:
    """Write how long ago something was: `just now`, `40 s ago`, `in 5 min`."""
    elapsed_s = (now - at).total_seconds()
    if abs(elapsed_s) < _JUST_NOW_S:
        return "just now"
    span = span_text(abs(elapsed_s))
    return f"{span} ago" if elapsed_s > 0 else f"in {span}"


def span_text(seconds: float) -> str:
    """Write a length of time by its greatest unit."""
    for length_s, unit in _SPANS:
        if seconds >= length_s:
            return f"{seconds // length_s:.0f} {unit}"
    return "0 s"


def moment_text(at: datetime) -> str:
    """Write a time in full."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
