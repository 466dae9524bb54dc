"""When a worker is started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dosirak.serving.restarts import (
    FIRST_DELAY_S,
    LONGEST_DELAY_S,
    LONGEST_LACK_S,
    MOST_FAILED_STARTS,
    USEFUL_S,
    RestartBudget,
)


def _lives(budget: RestartBudget, lives_s: list[float]) -> list[float | None]:
    """Return the delays after workers that were ready for so long each."""
    now_s, delays = 0.0, []
    for life_s in lives_s:
        budget.started(now_s)
        now_s += life_s
        delays.append(budget.ended(now_s, was_ready=True))
        now_s += delays[-1] + 1.0
    return delays


def test_a_worker_that_ends_as_soon_as_it_is_ready_is_replaced_ever_later():
    delays = _lives(RestartBudget(), [USEFUL_S / 10] * 12)
    assert delays[0] == FIRST_DELAY_S
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY_S


def test_a_worker_that_was_of_use_is_replaced_at_once_however_often():
    assert _lives(RestartBudget(), [2 * USEFUL_S] * 100) == [FIRST_DELAY_S] * 100


def test_one_life_of_use_makes_up_for_many_that_were_short():
    delays = _lives(RestartBudget(), [0.0] * 10 + [2 * USEFUL_S, 0.0])
    assert delays[9] == LONGEST_DELAY_S
    assert delays[10:] == [FIRST_DELAY_S] * 2


def test_a_worker_that_never_starts_is_given_up():
    budget = RestartBudget()
    delays = [budget.ended(0.0, was_ready=False) for _ in range(MOST_FAILED_STARTS)]
    assert delays[-1] is None
    assert None not in delays[:-1]


def test_what_the_system_lacks_is_waited_for_without_end_and_takes_no_attempt():
    budget = RestartBudget()
    for _ in range(MOST_FAILED_STARTS - 1):
        budget.ended(0.0, was_ready=False)
    delays = [budget.lacked() for _ in range(10 * MOST_FAILED_STARTS)]
    assert delays[0] == FIRST_DELAY_S
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_LACK_S
    assert budget.ended(0.0, was_ready=False) is None


def test_a_start_that_works_begins_the_count_again():
    budget = RestartBudget()
    for _ in range(MOST_FAILED_STARTS - 1):
        budget.ended(0.0, was_ready=False)
    budget.started(0.0)
    assert budget.ended(0.0, was_ready=False) is not None


@given(st.lists(st.floats(0, 1e6), max_size=300))
def test_crashes_alone_never_end_a_service(times):
    budget = RestartBudget()
    for time_s in sorted(times):
        delay_s = budget.ended(time_s, was_ready=True)
        assert delay_s is not None
        assert 0 < delay_s <= LONGEST_DELAY_S
