"""Requests by the clock: `open_load.py URL BODY_FILE TYPE HOLDS RATE SECONDS`.

The generator is that of the fault suite (tests/faults/serving/open_loop.py): Poisson arrivals,
times from the moment at which a request was meant to be sent. Prints JSON; `late_p99_ms` is how
late it was itself.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "faults" / "serving"))

from ledger import Call, Ledger
from open_loop import OpenLoop

# What has not been answered so long after the last was sent is not waited for.
PATIENCE_S = 5.0
# More than any server can have under way; what waits for one of them waits in the measured time.
MOST_CONNECTIONS = 1000


class Holding(Ledger):
    """A ledger for answers that are spelt differently by different servers."""

    def __init__(self, holds: bytes) -> None:
        super().__init__()
        self._holds = holds

    def judge(self, call: Call, status: int, head: bytes, body: bytes) -> str:
        if status in range(200, 300):
            return "right" if self._holds in body else "wrong"
        return "refused"


async def run(
    url: str, body: bytes, content_type: str, holds: bytes, rate_per_s: float, seconds: float
) -> dict[str, float]:
    parts = urlsplit(url)
    request = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body

    def calls(count: int) -> Iterator[Call]:
        return (Call(number, request) for number in range(count))

    ledger = Holding(holds)
    load = OpenLoop(
        parts.port, ledger, most_connections=MOST_CONNECTIONS, patience_s=PATIENCE_S
    )  # fmt: skip
    gc.freeze()
    gc.disable()
    began_s = time.perf_counter()
    await load.run(calls(int(rate_per_s * seconds)), rate_per_s)
    # To the last answer: what is still waiting when the load ends is not a gift.
    answered_s = time.perf_counter() - began_s
    await load.close()
    right = ledger.count("right")
    return {
        "rate": right / answered_s,
        "p50_ms": ledger.quantile_ms(0.5),
        "p99_ms": ledger.quantile_ms(0.99),
        "requests": right,
        "errors": ledger.sent() - right,
        "offered": ledger.sent() / load.elapsed_s,
        "late_p99_ms": load.lateness_ms(0.99),
    }


if __name__ == "__main__":
    url, file, media_type, held, rate, duration = sys.argv[1:]
    found = uvloop.run(
        run(url, Path(file).read_bytes(), media_type, held.encode(), float(rate), float(duration))
    )
    print(json.dumps(found))
