"""The `Priority` header, read strictly and never in anger."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.serving.urgency import urgency_of


@pytest.mark.parametrize(
    ("field", "urgency"),
    [
        ("u=0", 0),
        ("u=7", 7),
        ("u=1, i", 1),
        ("i,u=2", 2),
        ("  u=5  ", 5),
        ("u=1;x;y=2", 1),
        ("u=1 , u=6", 6),
        ('a="x, u=0", u=4', 4),
        ('a=(1 2;q "b");z, u=2, b=:aGk=:, c=?0, d=1.5', 2),
    ],
)
def test_what_is_a_dictionary_says_how_urgent(field, urgency):
    assert urgency_of(field) == urgency


@pytest.mark.parametrize(
    "field",
    [
        "", " ", "u", "i", "u=8", "u=-1", "u=01", "u=1.0", 'u="1"', "u=?1", "u=(1)", "u = 1", "U=1",
        "u=1,", ",u=1", "u=1 i", "u=1, é", "u=1;", "u=1\n", "\tu=1", "u=0, (",
        "u=99999999999999999",
    ],
)  # fmt: skip
def test_nonsense_says_nothing(field):
    assert urgency_of(field) == 3


@given(st.text(alphabet='ui=0123456789,; ()"\\:?a.*-\t', max_size=200))
def test_nothing_is_refused_and_nothing_takes_for_ever(field):
    assert 0 <= urgency_of(field) <= 7


def test_a_header_that_is_made_to_be_slow_is_not():
    for part in ("(1 1;a=1 ", "u=1;a;a=", "a=(", '"\\"', "u=1, "):
        assert urgency_of(part * 20_000) == 3
