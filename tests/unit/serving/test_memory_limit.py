"""Who is replaced for its memory, who is ended, and who is left alone."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.errors import InvalidConfiguration
from dosirak.serving.memory_limit import (
    LEAST_BETWEEN_S,
    Kill,
    MemoryLimit,
    Recycle,
    Standing,
    check_room,
    decide,
    limit_of,
    private_bytes,
)

LIMIT = MemoryLimit(100, 150)


def _decide(*used: int, recycling: bool = False, recycled_s: float | None = None) -> list[object]:
    workers = [Standing(place, bytes_, recycled_s) for place, bytes_ in enumerate(used)]
    return list(decide(workers, LIMIT, now_s=1000.0, recycling=recycling))


def test_within_the_limit_nothing_happens() -> None:
    assert _decide(0, 50, 100) == []


def test_the_largest_over_the_limit_is_replaced_one_at_a_time() -> None:
    assert _decide(110, 140, 120) == [Recycle(1, 140, again=False)]
    assert _decide(110, 140, recycling=True) == []


def test_over_the_hard_limit_it_is_ended_whatever_else_goes_on() -> None:
    assert _decide(151, 50, recycling=True) == [Kill(0, 151)]
    assert _decide(151, 120, 152) == [Kill(0, 151), Kill(2, 152), Recycle(1, 120, again=False)]


def test_it_is_not_replaced_in_circles() -> None:
    assert _decide(110, recycled_s=1000.0 - LEAST_BETWEEN_S + 1) == []
    assert _decide(110, recycled_s=1000.0 - LEAST_BETWEEN_S) == [Recycle(0, 110, again=True)]
    assert _decide(110, recycled_s=0.0) == [Recycle(0, 110, again=False)]


@given(st.lists(st.integers(0, 200), max_size=8), st.booleans())
def test_whatever_they_hold_at_most_one_is_replaced_and_none_is_both(
    used: list[int], recycling: bool
) -> None:
    actions = _decide(*used, recycling=recycling)
    assert sum(isinstance(action, Recycle) for action in actions) <= (0 if recycling else 1)
    places = [action.place for action in actions]
    assert len(places) == len(set(places))
    assert {a.place for a in actions if isinstance(a, Kill)} == {
        place for place, bytes_ in enumerate(used) if bytes_ > LIMIT.hard_bytes
    }


def test_the_hard_limit_is_half_as_much_again_when_it_is_not_given() -> None:
    assert limit_of(None, None) is None
    assert limit_of(100, None) == MemoryLimit(100, 150)
    assert limit_of(None, 100) == MemoryLimit(100, 100)
    for soft, hard in ((0, None), (100, 99), (-1, 5)):
        with pytest.raises(InvalidConfiguration):
            limit_of(soft, hard)


def test_what_a_process_holds_is_read_from_the_system() -> None:
    before = private_bytes(os.getpid())
    held = os.urandom(64 * 2**20)
    assert private_bytes(os.getpid()) - before > len(held) // 2
    assert private_bytes(2**22 + 1) == 0


def test_a_limit_that_leaves_no_room_is_refused_and_says_how_much_is_held() -> None:
    check_room(MemoryLimit(100 * 2**20, 150 * 2**20), 100 * 2**20)
    with pytest.raises(InvalidConfiguration, match=r"holds 120 MiB .* may hold 100 MiB") as raised:
        check_room(MemoryLimit(100 * 2**20, 150 * 2**20), 120 * 2**20)
    assert "--worker-memory-limit" in raised.value.remedy
