"""A store in a temporary place, a trained model and a project that serves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dosirak import models
from dosirak.models import Model
from dosirak.store import Store

SERVICE = '''"""Serves irises."""
import dosirak
import numpy as np
import pandas as pd
from my_preparation import scaling


@dosirak.service(labels={"team": "flowers"}, config={"threshold": 0.5})
class Iris:
    """Tells irises apart."""

    model = dosirak.model("iris:latest")

    @dosirak.api(batchable=True)
    def predict(self, flowers: np.ndarray) -> np.ndarray:
        from my_preparation import late

        return late.identity(self.model.predict(scaling.scale(flowers)))
'''


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    monkeypatch.setenv("DOSIRAK_HOME", str(place))
    return place


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home / "store")


def train(shift: float = 0.0) -> LogisticRegression:
    inputs = np.array([[0.0, 0.0], [0.0, 1.0], [5.0, 5.0], [5.0, 6.0]]) + shift
    return LogisticRegression().fit(inputs, [0, 0, 1, 1])


@pytest.fixture
def iris(store: Store) -> Model:
    return models.save(
        "iris",
        train(),
        metadata={"accuracy": 0.97},
        examples=np.array([[0.0, 0.5], [5.0, 5.5]]),
        store=store,
    )


def write(root: Path, path: str, text: str = "") -> Path:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def make_project(root: Path, factor: int = 1) -> Path:
    write(root, "service.py", SERVICE)
    write(root, "my_preparation/__init__.py")
    write(root, "my_preparation/scaling.py", f"def scale(values):\n    return values * {factor}\n")
    write(root, "my_preparation/late.py", "def identity(values):\n    return values\n")
    write(root, "README.md", "# Irises\n")
    write(root, "dosirak.toml", 'description = "Irises"\n[metadata]\nowner = "joe"\n')
    return root


@pytest.fixture
def project(tmp_path: Path, iris: Model) -> Path:
    return make_project(tmp_path / "project")
