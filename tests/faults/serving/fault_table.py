"""How much to do, and the table of what was reached.

`DOSIRAK_FAULTS` is the share of the full counts: nothing or 0 is thin (the counts of `make test`),
1 is full (`make test-faults`), 0.1 a tenth. From any share above 0 the rows that ran are written to
bench/results/faults.json, from which `make docs` writes docs/reference/faults.md.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

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
        holds: whether that is enough; None where nothing was measured.
    """

    fault: str
    done: str
    must: str
    reached: str
    holds: bool | None


# Figures of the catalogue that nothing measures here yet, so that the table does not hide them.
_UNMEASURED = (
    Row("F-04", "a version that always raises is deployed", "never ready; the old one serves on",
        "not measured: belongs to hot reload", None),
    Row("F-07", "user code that leaks memory, descriptors or threads",
        "the worker is recycled before it hurts, 0 lost", "not built", None),
    Row("F-33", "one caller floods, another does not", "the other's p99 < 2 ×",
        "not built: there are no priorities", None),
)  # fmt: skip


def write(rows: list[Row]) -> None:
    """Put rows into the file; those of the faults that ran are replaced."""
    known = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    faults = {row.fault for row in rows}
    kept = [row for row in known if row["fault"] not in faults and row["holds"] is not None]
    found = [*kept, *map(asdict, rows), *map(asdict, _UNMEASURED)]
    merged = sorted(found, key=lambda row: row["fault"])
    about = {
        "when": datetime.now(UTC).strftime("%Y-%m-%d"),
        "share_of_full_counts": SHARE,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average_at_the_end": round(os.getloadavg()[1], 1),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"about": about, "rows": merged}, indent=1) + "\n")
