"""How much to do, and the table of what was reached.

`DOSIRAK_FAULTS` is the share of the full counts: nothing or 0 is thin (the counts of `make test`),
1 is full (`make test-faults`), 0.1 a tenth. From any share above 0 the rows that ran are written to
bench/results/faults.json, from which `make docs` writes docs/reference/faults.md.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[3] / "bench" / "results" / "faults.json"
SHARE = float(os.environ.get("DOSIRAK_FAULTS") or 0)


def count(thin: int, full: int) -> int:
    """Return how many to do at the share that was asked for."""
    return max(thin, round(full * SHARE))


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        fault: its number in the catalogue.
        done: what was done, and how often.
        must: what is to be reached.
        reached: what was.
        holds: whether that is enough.
    """

    fault: str
    done: str
    must: str
    reached: str
    holds: bool


def write(test: str, rows: list[Row]) -> None:
    """Put the rows of a test into the file, in the place of those that it wrote before.

    Each test writes its own, when it is over: the long ones can be run one by one, side by side,
    and what was measured is not lost when a later one fails.
    """
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(RESULTS.parent, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        known = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
        found = [{**asdict(row), "test": test, **_circumstances()} for row in rows]
        merged = merge(known, found)
        partial = RESULTS.with_suffix(".partial")
        partial.write_text(json.dumps({"about": _machine(), "rows": merged}, indent=1) + "\n")
        partial.replace(RESULTS)
    finally:
        os.close(folder)


def merge(known: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the file when a test has found others."""
    tests = {row["test"] for row in found}
    # A row without a test is of a time when all were written together.
    figures = {(row["fault"], row["must"]) for row in found}
    rows = [
        row
        for row in known
        if row.get("test") not in tests
        and ("test" in row or (row["fault"], row["must"]) not in figures)
    ]
    return sorted([*rows, *found], key=lambda row: row["fault"])


def _circumstances() -> dict[str, Any]:
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d"),
        "share_of_full_counts": SHARE,
        "load_average": round(os.getloadavg()[1], 1),
    }


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }
