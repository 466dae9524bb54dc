"""When a worker is started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dosirak.serving.restarts import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    MOST_FAILED_STARTS,
    RestartBudget,
)


def test_the_first_crash_is_replaced_at_once_and_later_ones_ever_later():
    budget = RestartBudget()
    delays = [budget.ended(second, was_ready=True) for second in range(12)]
    assert delays[0] == FIRST_DELAY_S
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY_S


def test_crashes_long_ago_are_forgotten():
    budget = RestartBudget()
    for second in range(10):
        budget.ended(second, was_ready=True)
    assert budget.ended(1000.0, was_ready=True) == FIRST_DELAY_S


def test_a_worker_that_never_starts_is_given_up():
    budget = RestartBudget()
    delays = [budget.ended(0.0, was_ready=False) for _ in range(MOST_FAILED_STARTS)]
    assert delays[-1] is None
    assert None not in delays[:-1]


def test_a_start_that_works_begins_the_count_again():
    budget = RestartBudget()
    for _ in range(MOST_FAILED_STARTS - 1):
        budget.ended(0.0, was_ready=False)
    budget.started()
    assert budget.ended(0.0, was_ready=False) is not None


@given(st.lists(st.floats(0, 1e6), max_size=300))
def test_crashes_alone_never_end_a_service(times):
    budget = RestartBudget()
    for time_s in sorted(times):
        delay_s = budget.ended(time_s, was_ready=True)
        assert delay_s is not None
        assert 0 < delay_s <= LONGEST_DELAY_S
