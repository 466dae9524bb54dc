"""BentoML: served by its own command, `bentoml serve bentoml_app:App --port PORT`."""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
import models
import numpy as np


@bentoml.service(workers=int(os.environ["VERSUS_WORKERS"]), traffic={"timeout": 60})
class App:
    def __init__(self) -> None:
        self.model = models.iris_model()

    @bentoml.api
    def echo(self, value: int) -> int:
        return value

    @bentoml.api
    def iris(self, rows: list[list[float]]) -> list[int]:
        return models.predict(self.model, rows)

    # With its default latency of 10 ms nearly every answer is a 503.
    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=5000)
    def iris_batched(self, rows: list[list[float]]) -> list[int]:
        return models.predict(self.model, rows)

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=5000)
    def slow(self, rows: list[int]) -> list[int]:
        return models.slow(rows)

    @bentoml.api
    def cpu(self, value: int) -> int:
        return models.busy(value)

    @bentoml.api
    def tensor(self, data: Path) -> float:
        return float(np.load(data, allow_pickle=False)[0])
