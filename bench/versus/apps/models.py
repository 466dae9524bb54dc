"""The same models for every server."""

from __future__ import annotations

import hashlib
import os
import time

import numpy as np


def iris_model():
    """Return the model; nothing in a workload that does not ask it, so that it costs nobody."""
    if not os.environ.get("VERSUS_WORKLOAD", "iris").startswith("iris"):
        return None
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    features, classes = load_iris(return_X_y=True)
    return LogisticRegression(max_iter=500).fit(features, classes)


def predict(model, rows) -> list[int]:
    return model.predict(np.asarray(rows)).tolist()


def slow(rows: list) -> list:
    time.sleep(0.005 + 0.0001 * len(rows))
    return rows


def busy(value: int) -> int:
    """Use some eight milliseconds of one core, and nothing else."""
    hashlib.pbkdf2_hmac("sha256", b"a model", b"of eight milliseconds", 20_000)
    return value
