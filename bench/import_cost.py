"""What it costs to start: an empty program, `import dosirak`, `dosirak --help`."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

ROUNDS = 20
PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "import dosirak": ["-c", "import dosirak"],
    "dosirak --help": ["-m", "dosirak", "--help"],
    "dosirak models --help": ["-m", "dosirak", "models", "--help"],
    "dosirak serve --help": ["-m", "dosirak", "serve", "--help"],
}


def measure() -> Iterator[tuple[str, float, str]]:
    """Yield the median of each program's wall time, taken in turns so that drift hits all alike."""
    times: dict[str, list[float]] = {label: [] for label in PROGRAMS}
    for _ in range(ROUNDS):
        for label, arguments in PROGRAMS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
            times[label].append((time.perf_counter() - started) * 1000)
    for label, taken in times.items():
        yield f"{label} (median of {ROUNDS})", statistics.median(taken), "ms"
