from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dosirak.errors import InvalidInput
from dosirak.models.features import fitting_rows, named_rows, plain_array

FRAME = pd.DataFrame({"b": [1, 2], "a": [3, 4], "extra": [5, 6]})


def test_columns_are_put_in_the_models_order_and_others_left_out() -> None:
    assert list(fitting_rows(FRAME, names=("a", "b")).columns) == ["a", "b"]


def test_every_missing_column_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        fitting_rows(FRAME, names=("a", "x", "y"))
    assert [problem.field for problem in caught.value.fields] == ["inputs.x", "inputs.y"]


def test_rows_without_names_are_taken_in_order() -> None:
    rows = fitting_rows(pd.DataFrame([[1, 2]]), names=("a", "b"))
    assert rows.to_dict("records") == [{"a": 1, "b": 2}]


@pytest.mark.parametrize("value", [np.zeros((2, 3)), pd.DataFrame(np.zeros((2, 3)))])
def test_another_width_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="2 values"):
        fitting_rows(value, width=2)
    with pytest.raises(InvalidInput, match="2 values"):
        fitting_rows(value, names=("a", "b"))
    assert fitting_rows(value, width=3) is value


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3)])
def test_an_array_that_is_no_table_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="dimensions"):
        fitting_rows(np.zeros(shape), width=3)


def test_texts_pass_as_they_are() -> None:
    texts = ["a", "b"]
    assert fitting_rows(texts, width=7) is texts


def test_names_are_given_to_arrays_only_when_there_are_names() -> None:
    array = np.zeros((1, 2))
    assert list(named_rows(array, ("a", "b"), pd).columns) == ["a", "b"]
    assert named_rows(array, (), pd) is array
    assert named_rows(array, ("a", "b"), None) is array


def test_labels_kept_as_objects_become_text() -> None:
    labels = plain_array(np.array(["x", "yy"], dtype=object), np)
    assert labels.dtype.kind == "U"
    assert labels.tolist() == ["x", "yy"]
