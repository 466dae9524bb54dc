"""This project's service, all features on: `dosirak serve dosirak_app.py:App`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import models
import numpy as np

import dosirak


@dosirak.service
class App:
    def __init__(self) -> None:
        self.model = models.iris_model()

    @dosirak.api
    def echo(self, value: int) -> int:
        return value

    @dosirak.api
    def iris(self, rows: list[list[float]]) -> list[int]:
        return models.predict(self.model, rows)

    @dosirak.api(batchable=True, max_batch_size=64)
    def iris_batched(self, rows: list[list[float]]) -> list[int]:
        return models.predict(self.model, rows)

    @dosirak.api(batchable=True, max_batch_size=64)
    def slow(self, rows: list[int]) -> list[int]:
        return models.slow(rows)

    @dosirak.api
    def cpu(self, value: int) -> int:
        return models.busy(value)

    @dosirak.api
    def tensor(self, data: np.ndarray) -> float:
        return float(data[0])
