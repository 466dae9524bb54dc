"""What is asked of every server: a body, its answer, and how many ask at once."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

IRIS = [5.1, 3.5, 1.4, 0.2]
TENSOR_FLOATS = 150_000


@dataclass(frozen=True)
class Workload:
    """One kind of request; `app` is the name that the apps know it by."""

    app: str
    body: bytes
    content_type: str
    concurrency: int
    holds: bytes


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def tensor_body() -> bytes:
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, np.arange(TENSOR_FLOATS, dtype=np.float32))
    return stream.getvalue()


WORKLOADS = {
    "echo c64": Workload("echo", _json({"value": 7}), "application/json", 64, b"7"),
    "iris c64": Workload("iris", _json({"rows": [IRIS]}), "application/json", 64, b"0"),
    "iris batched c64": Workload(
        "iris_batched", _json({"rows": [IRIS]}), "application/json", 64, b"0"
    ),
    "iris batched c128": Workload(
        "iris_batched", _json({"rows": [IRIS]}), "application/json", 128, b"0"
    ),
    "5 ms + 0.1 ms n c128": Workload("slow", _json({"rows": [7]}), "application/json", 128, b"7"),
    "600 KB tensor c16": Workload("tensor", b"", "application/x-npy", 16, b"0"),
}
