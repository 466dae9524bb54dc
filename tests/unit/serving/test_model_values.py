"""A model that refuses the values of a request's rows: the caller's fault where they hold them."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import dosirak
from dosirak.errors import InvalidInput, ServiceError

TRAINED = pd.DataFrame({"petal": [1.0, 2.0, 3.0, 4.0], "sepal": [2.0, 1.0, 3.0, 4.0]})
LABELS = [0, 1, 0, 1]


def _columns() -> Any:
    steps = [("scaled", StandardScaler(), ["petal"]), ("kinds", OneHotEncoder(), ["sepal"])]
    return make_pipeline(ColumnTransformer(steps), LogisticRegression()).fit(TRAINED, LABELS)


@dosirak.service
class Rows:
    def __init__(self) -> None:
        self.model = LogisticRegression().fit(TRAINED, LABELS)
        self.numbers = LogisticRegression().fit(TRAINED.to_numpy(), LABELS)
        self.columns = _columns()

    @dosirak.api
    def open(self, rows: pd.DataFrame) -> np.ndarray:
        return self.model.predict(rows)

    @dosirak.api
    def declared(
        self, rows: Annotated[pd.DataFrame, dosirak.Columns(petal="float64", sepal="float64")]
    ) -> np.ndarray:
        return self.model.predict(rows)

    @dosirak.api
    async def array(self, rows: np.ndarray) -> np.ndarray:
        return self.numbers.predict(rows)

    @dosirak.api(batchable=True)
    def joined(self, rows: np.ndarray) -> np.ndarray:
        return self.numbers.predict(rows)

    @dosirak.api
    def transformed(self, rows: pd.DataFrame) -> np.ndarray:
        return self.columns.predict(rows)

    @dosirak.api
    def spoiled(self, rows: np.ndarray) -> np.ndarray:
        return self.numbers.predict(rows * np.nan)

    @dosirak.api
    def lost(self, rows: np.ndarray) -> np.ndarray:
        return self.numbers.predict(rows[:0])


NAN = TRAINED.assign(petal=[1.0, np.nan, 3.0, 4.0])
INFINITE = TRAINED.assign(petal=[1.0, np.inf, 3.0, 4.0])
NONE = TRAINED.iloc[:0]


@pytest.mark.parametrize(
    ("api", "rows", "words"),
    [
        ("open", NAN, "contains NaN"),
        ("open", INFINITE, "contains infinity"),
        ("open", NONE, "0 sample"),
        ("declared", NAN, "contains NaN"),
        ("declared", NONE, "0 sample"),
        ("array", NAN.to_numpy(), "contains NaN"),
        ("array", NONE.to_numpy(), "0 sample"),
        ("joined", NAN.to_numpy(), "contains NaN"),
        ("transformed", NAN, "contains NaN"),
        ("transformed", TRAINED.assign(sepal=9.0), "unknown categories"),
    ],
)
def test_values_that_the_model_refuses_are_the_callers_fault(api, rows, words):
    with Rows.test_client() as client, pytest.raises(InvalidInput, match=words) as caught:
        client.call(api, rows=rows)
    assert [field for field, _ in caught.value.fields] == ["rows"]


def test_a_column_that_a_transformer_misses_is_named():
    with Rows.test_client() as client, pytest.raises(InvalidInput) as caught:
        client.transformed(rows=TRAINED[["petal"]])
    assert dict(caught.value.fields) == {"rows.sepal": "is missing"}


@pytest.mark.parametrize("api", ["spoiled", "lost"])
def test_what_the_service_made_of_good_rows_is_its_own_fault(api):
    with Rows.test_client() as client, pytest.raises(ServiceError):
        client.call(api, rows=TRAINED.to_numpy())
