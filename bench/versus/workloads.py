"""What is asked of every server: a body, its answer, how many ask at once or how often.

`slow` is a model that takes 5 ms + 0.1 ms for each row, in one call of at most 64 rows. Whatever
stands before it, it cannot do more than 64 rows in each 5 + 6.4 = 11.4 ms: its physical limit is
64 / 11.4 ms = 5,614 rows a second, and 11.4 ms is its service time. It sleeps, so that neither
depends on how fast a core is.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass

IRIS = [5.1, 3.5, 1.4, 0.2]
TENSOR_FLOATS = 150_000
CLIENT_CORE = 1
SLOW_ROWS = 64
SLOW_SERVICE_S = 0.005 + 0.0001 * SLOW_ROWS
SLOW_LIMIT_PER_S = SLOW_ROWS / SLOW_SERVICE_S
_BOUNDARY = "5f1b8a3c"


@dataclass(frozen=True)
class Workload:
    """One kind of request.

    Attributes:
        app: the name that the apps know it by.
        make_body: makes what is sent.
        content_type: what that is.
        concurrency: so many clients each send the next request when the last is answered.
        holds: what every right answer has in it.
        rate_per_s: instead of that, requests come by the clock (Poisson), at this rate.
        workers: processes that run the model.
        cores: of the server's whole tree.
    """

    app: str
    make_body: Callable[[], bytes]
    content_type: str
    concurrency: int
    holds: bytes
    rate_per_s: float | None = None
    workers: int = 1
    cores: str = "0"

    def request(self, *, multipart: bool) -> tuple[bytes, str]:
        """Return a body and its type, as the one file of a form where a server wants that."""
        body = self.make_body()
        if not multipart:
            return body, self.content_type
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="data"; filename="data.npy"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        form = head.encode() + body + f"\r\n--{_BOUNDARY}--\r\n".encode()
        return form, f"multipart/form-data; boundary={_BOUNDARY}"


def tensor_body() -> bytes:
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, np.arange(TENSOR_FLOATS, dtype=np.float32))
    return stream.getvalue()


def _json(
    app: str,
    value: object,
    concurrency: int,
    holds: bytes,
    *,
    rate_per_s: float | None = None,
    workers: int = 1,
    cores: str = "0",
) -> Workload:
    body = json.dumps(value).encode()
    return Workload(app, lambda: body, "application/json", concurrency, holds,
                    rate_per_s, workers, cores)  # fmt: skip


ECHO, IRIS_C64, BATCHED_C64, BATCHED_C128 = (
    "echo c64", "iris c64", "iris batched c64", "iris batched c128",
)  # fmt: skip
SLOW_CLOSED, SLOW_OPEN = "5 ms + 0.1 ms n c128", "5 ms + 0.1 ms n open 80 %"
TENSOR = "600 KB tensor c16"
ONE_WORKER, TWO_WORKERS = "8 ms CPU, one worker", "8 ms CPU, two workers"
WORKLOADS = {
    ECHO: _json("echo", {"value": 7}, 64, b"7"),
    IRIS_C64: _json("iris", {"rows": [IRIS]}, 64, b"0"),
    BATCHED_C64: _json("iris_batched", {"rows": [IRIS]}, 64, b"0"),
    BATCHED_C128: _json("iris_batched", {"rows": [IRIS]}, 128, b"0"),
    SLOW_CLOSED: _json("slow", {"rows": [7]}, 128, b"7"),
    SLOW_OPEN: _json("slow", {"rows": [7]}, 128, b"7", rate_per_s=0.8 * SLOW_LIMIT_PER_S),
    TENSOR: Workload("tensor", tensor_body, "application/x-npy", 16, b"0"),
    # Both cores for both, so that nothing but the number of workers differs; the load generator
    # has a core of the two and needs next to nothing of it at some hundred requests a second.
    ONE_WORKER: _json("cpu", {"value": 7}, 8, b"7", cores="0,1"),
    TWO_WORKERS: _json("cpu", {"value": 7}, 8, b"7", workers=2, cores="0,1"),
}
