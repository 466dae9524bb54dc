"""How list, get and save grow with the number of bundles: `python bench/store.py`.

Two shapes: N versions under one name, and N names with one version each. Every operation is timed
through the public store on the disk under --directory. Prints a table and writes
bench/results/store.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dosirak.store import Entry, Store

HERE = Path(__file__).parent
SIZES = (100, 1_000, 10_000)
SHAPES = ("one name", "many names")


def save(store: Store, number: int, shape: str) -> Entry:
    """Save a small bundle: two files, one of them new."""
    with store.writing() as transaction:
        (transaction.directory / "own.txt").write_text(f"{shape} {number}")
        (transaction.directory / "shared.txt").write_text("the same in all")
        files = transaction.add_tree(transaction.directory)
        manifest = {"files": [file.describe() for file in files]}
        name = "bundle" if shape == "one name" else f"bundle-{number:06}"
        return transaction.commit("bundles", name, None, manifest)


def timed(operation: Callable[[int], Any], repeats: int) -> list[float]:
    """Return the milliseconds of each repetition."""
    found = []
    for number in range(repeats):
        begin = time.perf_counter()
        operation(number)
        found.append((time.perf_counter() - begin) * 1000)
    return found


def measure(store: Store, shape: str, size: int) -> dict[str, list[float]]:
    """Time every operation at one size."""
    name = "bundle" if shape == "one name" else f"bundle-{size // 2:06}"
    middle = store.entries("bundles", name)[-1].reference
    return {
        "save": timed(lambda number: save(store, 10**6 + size + number, shape), 15),
        "list all": timed(lambda _: store.entries("bundles"), 5),
        "get exact": timed(lambda _: store.resolve("bundles", middle), 50),
        "get latest": timed(lambda _: store.resolve("bundles", name), 50),
        "view": timed(lambda _: look(store, middle), 15),
        "collect": timed(lambda _: store.collect_garbage(), 3),
    }


def look(store: Store, reference: Any) -> None:
    """Resolve and open one bundle's verified files."""
    with store.view(store.resolve("bundles", reference).digest):
        pass


def summary(times: list[float]) -> dict[str, float]:
    """Return the median and the spread of the middle half."""
    low, median, high = statistics.quantiles(times, n=4)
    return {"median_ms": median, "q1_ms": low, "q3_ms": high, "runs": len(times)}


def run(directory: Path) -> list[dict[str, Any]]:
    """Fill a store step by step and measure at each size."""
    rows = []
    for shape in SHAPES:
        store = Store(directory / shape.replace(" ", "-"))
        filled = 0
        for size in SIZES:
            begin = time.perf_counter()
            for number in range(filled, size):
                save(store, number, shape)
            filling_s = time.perf_counter() - begin
            for operation, times in measure(store, shape, size).items():
                rows.append({"shape": shape, "size": size, "operation": operation} | summary(times))
            each_ms = filling_s * 1000 / (size - filled)
            about = {"shape": shape, "size": size, "operation": "fill, each"}
            rows.append({**about, "median_ms": each_ms, "runs": size - filled})
            filled = size
        shutil.rmtree(store.root)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return the medians, one line per operation, with the middle half in brackets."""
    lines = [f"{'':24}" + "".join(f"{size:>28,}" for size in SIZES)]
    for shape in SHAPES:
        names = dict.fromkeys(row["operation"] for row in rows if row["shape"] == shape)
        for name in names:
            cells = [cell(row) for row in rows if (row["shape"], row["operation"]) == (shape, name)]
            lines.append(f"{shape + ': ' + name:24}" + "".join(f"{text:>28}" for text in cells))
    return "\n".join(lines)


def cell(row: dict[str, Any]) -> str:
    """Return one figure of the table."""
    spread = f" [{row['q1_ms']:.2f}, {row['q3_ms']:.2f}]" if "q1_ms" in row else ""
    return f"{row['median_ms']:.2f} ms{spread}"


def main() -> None:
    """Measure, print, write."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--directory", type=Path, default=None, help="where the stores are made")
    options.add_argument("--output", type=Path, default=HERE / "results" / "store.json")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.directory) as directory:
        rows = run(Path(directory))
    print(table(rows))
    about = {"python": platform.python_version(), "machine": platform.machine(),
             "cores": os.cpu_count(), "load": os.getloadavg()[0]}  # fmt: skip
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
