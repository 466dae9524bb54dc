"""A model that refuses a table's columns: the caller's fault where nobody declared them."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.linear_model import LogisticRegression

import dosirak
from dosirak.errors import InvalidInput, ServiceError
from dosirak.serving.model_columns import refused_columns

TRAINED = pd.DataFrame({"petal": [1.0, 2.0, 3.0, 4.0], "sepal": [2.0, 1.0, 3.0, 4.0]})
LABELS = [0, 1, 0, 1]
MODELS = {
    "sklearn": LogisticRegression(),
    "xgboost": xgboost.XGBClassifier(n_estimators=2),
    "lightgbm": lightgbm.LGBMClassifier(n_estimators=2, verbose=-1),
    "catboost": catboost.CatBoostClassifier(iterations=2, verbose=0, allow_writing_files=False),
}


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {name: model.fit(TRAINED, LABELS) for name, model in MODELS.items()}


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize(
    ("library", "frame", "fields"),
    [
        ("sklearn", TRAINED.rename(columns={"petal": "leaf"}), {"f.leaf", "f.petal"}),
        ("sklearn", TRAINED[["sepal", "petal"]], {"f"}),
        ("sklearn", TRAINED.assign(leaf=1), {"f.leaf"}),
        ("sklearn", TRAINED[["petal"]].to_numpy(), {"f"}),
        ("xgboost", TRAINED.rename(columns={"petal": "leaf"}), {"f.leaf", "f.petal"}),
        ("xgboost", TRAINED[["sepal", "petal"]], {"f"}),
        ("xgboost", TRAINED[["petal"]].to_numpy(), {"f"}),
        ("lightgbm", TRAINED[["petal"]], {"f"}),
        ("catboost", TRAINED[["petal"]], {"f.sepal"}),
        ("catboost", TRAINED.rename(columns={"petal": "leaf"}), {"f.petal"}),
    ],
)
def test_each_librarys_words_are_read(models, library, frame, fields, capfd):
    with pytest.raises(Exception) as raised:
        models[library].predict(frame)
    refused = refused_columns(raised.value, ("f",), [frame])
    assert refused is not None, str(raised.value)
    assert {problem.field for problem in refused.fields} == fields


def test_the_same_words_of_somebody_else_are_no_models():
    with pytest.raises(ValueError, match="X has") as raised:
        raise ValueError("X has 3 features, but Me is expecting 4 features as input.")
    assert refused_columns(raised.value, ("f",), []) is None


@pytest.mark.parametrize("used", [TRAINED[["sepal"]], TRAINED.assign(leaf=1)])
def test_columns_that_the_service_itself_lost_or_added_are_its_own_fault(models, used):
    with pytest.raises(ValueError, match="feature names") as raised:
        models["sklearn"].predict(used)
    assert refused_columns(raised.value, ("f",), [TRAINED]) is None


@dosirak.service
class Open:
    def __init__(self) -> None:
        self.model = LogisticRegression().fit(TRAINED, LABELS)

    @dosirak.api
    def predict(self, flowers: pd.DataFrame) -> np.ndarray:
        return self.model.predict(flowers)

    @dosirak.api
    async def later(self, flowers: pd.DataFrame | None) -> np.ndarray:
        return self.model.predict(flowers)

    @dosirak.api
    def declared(
        self, flowers: Annotated[pd.DataFrame, dosirak.Columns("leaf", "sepal")]
    ) -> np.ndarray:
        return self.model.predict(flowers)

    @dosirak.api
    def column(self, flowers: pd.DataFrame) -> float:
        return float(flowers["leaf"].sum())


@pytest.mark.parametrize("api", ["predict", "later"])
def test_columns_that_the_model_refuses_are_the_callers_fault(api, caplog):
    wrong = TRAINED.rename(columns={"petal": "leaf"})
    with Open.test_client() as client, pytest.raises(InvalidInput) as caught:
        client.call(api, flowers=wrong)
    assert dict(caught.value.fields)["flowers.petal"] == "is missing"
    assert "flowers.leaf" in dict(caught.value.fields)
    assert "dosirak.Columns" in caplog.text


def test_where_the_columns_are_declared_it_is_the_services_fault():
    wrong = TRAINED.rename(columns={"petal": "leaf"})
    with Open.test_client() as client, pytest.raises(ServiceError):
        client.declared(flowers=wrong)


def test_any_other_failure_over_a_table_tells_the_author_of_columns(caplog):
    with (
        caplog.at_level(logging.ERROR),
        Open.test_client() as client,
        pytest.raises(ServiceError) as caught,
    ):
        client.column(flowers=TRAINED)
    assert "dosirak.Columns" in caplog.text
    assert "Columns" not in str(caught.value)
