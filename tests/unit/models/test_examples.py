from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dosirak import models
from dosirak.errors import CorruptContent, UsageError
from dosirak.models.example_values import plain, read_value, write_value
from dosirak.models.examples import Example, compare, differences, record
from dosirak.models.features import row_method

EXAMPLE = Example("predict", {}, {})


def test_examples_are_recorded_at_save_and_replayed_after(tally):
    saved = models.save("sums", tally([1, 2]), examples=np.array([[1.0, 1.0], [0.0, 4.0]]))
    (example,) = saved.examples
    assert example.method == "predict"
    with saved.store.view(saved.id, under="examples") as directory:
        assert read_value(example.input, directory).tolist() == [[1, 1], [0, 4]]
        assert read_value(example.output, directory) == [3, 8]
    assert models.replay(saved) == []


def test_a_tuple_is_several_batches(tally):
    saved = models.save("sums", tally([1]), examples=([[1]], [[2], [3]]))
    assert len(saved.examples) == 2


def test_a_model_that_answers_otherwise_is_told_by_replay(tally):
    saved = models.save("sums", tally([1, 2]), examples=[[1, 1], [0, 4]])
    assert models.replay(saved, loaded=tally([1, 2])) == []
    problems = models.replay(saved, loaded=tally([1, 3]))
    assert problems == [
        "example 0[0]: expected 3, got 4",
        "example 0[1]: expected 8, got 12",
    ]


def test_a_model_that_answers_otherwise_once_saved_is_refused(tally):
    with pytest.raises(UsageError, match="does not answer as the one in memory"):
        models.save("sums", tally([1], drift=1), examples=[[1], [2]])
    assert models.list() == ()


def test_a_model_without_examples_has_nothing_to_replay(tally):
    assert models.replay(models.save("sums", tally([1]))) == []


FRAME = pd.DataFrame(
    {"n": [1, 2], "f": [0.5, None], "s": ["a", None], "t": pd.to_datetime(["2026-01-01"] * 2)},
    index=[3, 5],
)
VALUES = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.array([[True], [False]]),
    np.array(["ab", "c"]),
    np.float32(1.5),
    torch.tensor([[1.0, 2.0]]),
    FRAME,
    FRAME["n"],
    pl.DataFrame({"a": [1, 2], "b": ["x", None]}),
    pl.Series("a", [1, 2]),
    pa.table({"a": [1, 2]}),
    [[1, 2.5, "x", None, True]],
    {"a": np.arange(3), "b": [np.zeros((2, 2)), (1, np.ones(1))]},
    "text",
]


@pytest.mark.parametrize(
    "value", VALUES, ids=[f"{n}-{type(v).__name__}" for n, v in enumerate(VALUES)]
)
def test_values_come_back_as_they_were(value, tmp_path):
    found = read_value(write_value(value, tmp_path, "v"), tmp_path)
    assert list(differences(plain(value), plain(found), EXAMPLE, "")) == []
    if not isinstance(value, np.generic):
        assert type(found) is type(value)
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(found, value)


@pytest.mark.parametrize(
    "value",
    [
        np.array([object()], dtype=object),
        {1: np.zeros(1)},
        object(),
        [float("nan")],
        pd.DataFrame({"a": [1, "x"]}),
        torch.zeros(1, dtype=torch.bfloat16),
        b"bytes",
    ],
    ids=["objects", "keys", "object", "nan", "mixed-column", "bfloat16", "bytes"],
)
def test_what_has_no_safe_format_is_refused(value, tmp_path):
    with pytest.raises(UsageError):
        write_value(value, tmp_path, "v")


def test_a_file_that_is_a_pickle_in_disguise_is_refused(tmp_path):
    np.save(tmp_path / "v.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(CorruptContent):
        read_value({"kind": "numpy.ndarray", "file": "v.npy"}, tmp_path)
    with pytest.raises(CorruptContent):
        read_value({"kind": "pandas.DataFrame", "file": "v.npy"}, tmp_path)
    with pytest.raises(CorruptContent):
        read_value({"kind": "os.system", "file": "v.npy"}, tmp_path)


@pytest.mark.parametrize(
    ("expected", "actual", "alike"),
    [
        (1.0, 1.000001, True),
        (1.0, 1.001, False),
        (1, 1.0, True),
        (1, 2, False),
        (10**6, 10**6 + 1, False),
        (0.0, 1e-9, True),
        (float("nan"), float("nan"), True),
        (float("nan"), 1.0, False),
        (float("inf"), float("inf"), True),
        (True, 1, False),
        ("a", "a", True),
        ("a", b"a", False),
        (None, 0, False),
        ([1, 2], [1], False),
        ([1], 1, False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"b": 1}, False),
        (1 + 1j, 1 + 1j, True),
    ],
)
def test_answers_are_compared_within_tolerance(expected, actual, alike):
    assert (list(differences(expected, actual, EXAMPLE, "x")) == []) is alike


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.complex_numbers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_value_is_like_itself(value):
    assert list(differences(value, value, EXAMPLE, "x")) == []


class Refusing:
    """A framework whose models raise what a library would."""

    NAME = "refusing"

    def methods(self, model: object):
        return (row_method("predict", np.ndarray, np.ndarray),)

    def call(self, model: object, method: str, value: object) -> object:
        raise ValueError("Input X contains NaN.\nMore about it.")


def test_what_a_library_raises_at_an_example_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"predict raised ValueError: Input X contains NaN\. "):
        record(Refusing(), object(), ([[1.0]],), tmp_path)


def test_a_model_that_raises_at_replay_is_a_problem_and_no_traceback(tmp_path):
    kept = write_value([[1.0]], tmp_path, "input")
    problems = compare(Refusing(), object(), [Example("predict", kept, kept)], tmp_path)
    assert problems == ["example 0: predict raised ValueError: Input X contains NaN"]
