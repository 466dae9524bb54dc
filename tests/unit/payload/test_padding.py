"""Padding: what is added is taken off again, and nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dosirak.payload.batching import rows
from dosirak.payload.padding import cut_length, fitting, length_of, pad_length, pad_rows
from dosirak.payload.wire import Arguments


@given(st.lists(st.integers(1, 100), unique=True).map(sorted), st.integers(1, 120))
def test_the_smallest_allowed_size_that_holds_it(allowed: list[int], size: int) -> None:
    found = fitting(size, allowed)
    assert found >= size
    assert found == size or found == min(one for one in allowed if one >= size)


@pytest.mark.parametrize(
    "value",
    [
        [1, 2, 3],
        np.arange(6).reshape(3, 2),
        torch.arange(6).reshape(3, 2),
        pd.DataFrame({"a": [1, 2, 3]}),
    ],
    ids=["list", "numpy", "torch", "pandas"],
)
def test_the_last_row_is_repeated(value: Any) -> None:
    padded = pad_rows(Arguments((value,), {"option": 5}), 3, 2)
    assert rows(padded) == 5
    assert padded.kwargs == {"option": 5}
    plain = _plain(padded.args[0])
    assert plain[:3] == _plain(value)
    assert plain[3:] == _plain(value)[2:] * 2


def _plain(value: Any) -> list[Any]:
    if isinstance(value, pd.DataFrame):
        return value["a"].tolist()
    return value if isinstance(value, list) else value.tolist()


def test_rows_are_added_along_the_batch_dimension() -> None:
    padded = pad_rows(Arguments((np.array([[1, 2], [3, 4]]),)), 2, 1, batch_dimension=1)
    assert padded.args[0].tolist() == [[1, 2, 2], [3, 4, 4]]


@pytest.mark.parametrize("make", [np.array, torch.tensor], ids=["numpy", "torch"])
def test_lengths_are_filled_with_the_pad_value_in_the_same_dtype(make: Any) -> None:
    tokens = make([[1, 2, 3]])
    arguments = Arguments((), {"tokens": tokens, "mask": make([[1, 1, 1]]), "top": 2})
    assert length_of(arguments) == 3
    padded = pad_length(arguments, 5, 0)
    assert padded.kwargs["tokens"].tolist() == [[1, 2, 3, 0, 0]]
    assert padded.kwargs["tokens"].dtype == tokens.dtype
    assert padded.kwargs["top"] == 2


def test_arrays_of_different_lengths_are_left_alone() -> None:
    assert length_of(Arguments((np.ones((1, 2)), np.ones((1, 10))))) == 0
    assert length_of(Arguments((np.ones(3), 5))) == 0


def test_only_a_result_as_long_as_the_bucket_is_cut() -> None:
    assert cut_length(np.ones((1, 8)), 8, 3).shape == (1, 3)
    assert cut_length(np.ones((1, 2)), 8, 3).shape == (1, 2)
    assert cut_length(np.ones(8), 8, 3).shape == (8,)
    assert cut_length([1, 2], 2, 1) == [1, 2]
