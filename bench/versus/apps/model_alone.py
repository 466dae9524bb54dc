"""The slow model without a server: `model_alone.py ROWS SECONDS` calls it again and again.

What it reaches here and now is what the physical limit is on this machine at this moment: a sleep
ends a little late, and later on a busy machine.
"""

from __future__ import annotations

import json
import sys
import time

import models


def main() -> None:
    rows, seconds = int(sys.argv[1]), float(sys.argv[2])
    batch, times_ms = [7] * rows, []
    began_s = now_s = time.perf_counter()
    while now_s < began_s + seconds:
        models.slow(batch)
        ended_s = time.perf_counter()
        times_ms.append(1000 * (ended_s - now_s))
        now_s = ended_s
    times_ms.sort()
    count = len(times_ms)
    print(json.dumps({
        "rate": rows * count / (now_s - began_s),
        "p50_ms": times_ms[count // 2], "p99_ms": times_ms[count * 99 // 100],
        "requests": rows * count, "errors": 0, "us_per_request": 0.0, "start_s": 0.0,
        "idle_mib": 0.0,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
