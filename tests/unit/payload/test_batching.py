"""Joining calls and splitting their results: every caller gets its own rows back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dosirak.errors import ResultError
from dosirak.payload.batching import join, joinable, plain_rows, rows, split, without_rows
from dosirak.payload.wire import Arguments

MAKERS: dict[str, Any] = {
    "list": list,
    "numpy": np.array,
    "torch": torch.tensor,
    "pandas series": pd.Series,
    "pandas": lambda ns: pd.DataFrame({"a": ns, "b": [str(n) for n in ns]}),
    "polars": lambda ns: pl.DataFrame({"a": ns, "b": [str(n) for n in ns]}),
    "polars series": lambda ns: pl.Series("a", ns),
    "arrow": lambda ns: pa.table({"a": ns}),
    "arrow column": lambda ns: pa.chunked_array([ns]),
}


def plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return (list(value.index), value.to_dict("records"))
    for method in ("to_dicts", "to_pylist", "tolist", "to_list"):
        if hasattr(value, method):
            return getattr(value, method)()
    return value


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@given(parts=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=5))
def test_what_is_joined_is_split_again(make: Any, parts: list[list[int]]) -> None:
    values = [make(part) for part in parts]
    calls = [Arguments((value,), {"top": 3}) for value in values]
    assert joinable(calls)
    joined = join(calls)
    assert rows(joined) == sum(map(len, parts))
    assert joined.kwargs == {"top": 3}
    again = split(joined.args[0], [rows(call) for call in calls])
    assert [plain(value) for value in again] == [plain(value) for value in values]


def test_arrays_join_along_the_batch_dimension() -> None:
    calls = [Arguments((), {"x": np.ones((2, n))}) for n in (1, 3)]
    assert joinable(calls, batch_dimension=1)
    joined = join(calls, batch_dimension=1)
    assert joined.kwargs["x"].shape == (2, 4)
    assert [part.shape for part in split(joined.kwargs["x"], [1, 3], 1)] == [(2, 1), (2, 3)]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"x": np.ones((1, 2))}, {"x": np.ones((1, 3))}),
        ({"x": np.ones(1)}, {"x": np.ones(1, "f4")}),
        ({"x": [1], "top": 1}, {"x": [1], "top": 2}),
        ({"x": [1], "top": 1}, {"x": [1], "top": True}),
        ({"x": [1], "top": float("nan")}, {"x": [1], "top": float("nan")}),
        ({"x": [1]}, {"x": [1], "top": 1}),
        ({"x": pd.DataFrame({"a": [1]})}, {"x": pd.DataFrame({"b": [1]})}),
        ({"x": pd.DataFrame({"a": [1]})}, {"x": pd.DataFrame({"a": ["1"]})}),
        ({"x": pl.DataFrame({"a": [1]})}, {"x": pl.DataFrame({"a": [1.0]})}),
        ({"x": pa.table({"a": [1]})}, {"x": pa.table({"a": ["1"]})}),
        ({"x": [1], "y": [1, 2]}, {"x": [1], "y": [1, 2]}),
        ({"name": "a"}, {"name": "a"}),
    ],
    ids=range(12),
)
def test_calls_that_differ_beyond_their_rows_are_not_joined(left: Any, right: Any) -> None:
    assert not joinable([Arguments((), left), Arguments((), right)])


def test_a_result_of_another_length_is_the_handlers_fault() -> None:
    with pytest.raises(ResultError, match="returned 2 rows for 3"):
        split(np.ones(2), [1, 2])


@pytest.mark.parametrize("result", [1.5, {"a": [1]}, np.float64(1), np.array(1), None])
def test_a_result_without_rows_is_the_handlers_fault(result: Any) -> None:
    with pytest.raises(ResultError, match="no rows"):
        split(result, [1, 1])


@pytest.mark.parametrize(
    "arguments",
    [
        Arguments(([1, 2],), {}),
        Arguments((), {"x": []}),
        Arguments((), {"x": np.zeros((3, 2))}),
        Arguments((np.zeros(()),), {}),
        Arguments((7,), {}),
        Arguments(([1],), {"x": [1]}),
        Arguments((), {}),
        Arguments((pd.DataFrame({"a": [1, 2]}),), {}),
    ],
)
@pytest.mark.parametrize("batch_dimension", [0, 1])
def test_rows_are_counted_the_short_way_only_where_the_long_way_agrees(arguments, batch_dimension):
    count = plain_rows(arguments, batch_dimension)
    if count is not None:
        assert without_rows(arguments, batch_dimension) is None
        assert count == rows(arguments, batch_dimension)


def test_lists_and_arrays_are_counted_the_short_way():
    assert plain_rows(Arguments((), {"x": [1, 2]})) == 2
    assert plain_rows(Arguments((np.zeros((3, 2)),), {}), 1) == 2
