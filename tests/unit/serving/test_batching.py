"""The policy: work-conserving, bounded, just in time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.serving.batching import (
    Gathering,
    HandOver,
    Lead,
    Look,
    Waiting,
    WorkerLoad,
    decide,
    fill,
    message_size,
    predicted_wait_s,
)
from dosirak.serving.cost_curve import CostCurve

LOADS = st.builds(
    WorkerLoad,
    threads=st.integers(1, 3),
    in_flight=st.integers(0, 4),
    free_at_s=st.floats(0, 100),
)
WAITING = st.builds(Waiting, full=st.booleans(), call_s=st.none() | st.floats(0, 10))


@given(st.lists(st.integers(1, 20), max_size=50), st.integers(1, 30))
def test_a_batch_never_exceeds_its_rows_unless_one_request_does(rows, most):
    requests, total = fill(rows, most)
    assert total == sum(rows[:requests])
    assert total <= most or requests == 1
    assert requests >= bool(rows)
    # Nothing that would have fitted is left behind.
    assert requests == len(rows) or total + rows[requests] > most


@given(WAITING, st.lists(LOADS, min_size=1, max_size=5), st.floats(0, 100), st.floats(0, 0.01))
def test_an_idle_worker_never_waits(waiting, workers, now_s, lead_s):
    step = decide(waiting, workers, now_s=now_s, lead_s=lead_s)
    if any(load.is_idle for load in workers):
        assert isinstance(step, HandOver)
        assert workers[step.worker].is_idle


@given(WAITING, st.lists(LOADS, max_size=5), st.floats(0, 100), st.floats(0, 0.01))
def test_at_most_one_message_waits_at_a_worker(waiting, workers, now_s, lead_s):
    step = decide(waiting, workers, now_s=now_s, lead_s=lead_s)
    if isinstance(step, HandOver):
        assert workers[step.worker].in_flight <= workers[step.worker].threads
    else:
        assert step.at_s > now_s - lead_s or math.isinf(step.at_s)


def test_the_worker_that_has_been_idle_longest_is_next():
    workers = [WorkerLoad(free_at_s=5.0), WorkerLoad(free_at_s=3.0), WorkerLoad(free_at_s=4.0)]
    assert decide(Waiting(), workers, now_s=9.0, lead_s=0.001) == HandOver(1)


def test_a_batch_that_can_still_grow_waits_for_the_end_of_the_running_call():
    busy = [WorkerLoad(in_flight=1, free_at_s=10.0)]
    growing = Waiting(full=False, call_s=0.01)
    assert decide(growing, busy, now_s=9.9, lead_s=0.001) == Look(9.999)
    assert decide(growing, busy, now_s=9.9995, lead_s=0.001) == HandOver(0)
    assert decide(Waiting(full=True, call_s=0.01), busy, now_s=9.9, lead_s=0.001) == HandOver(0)


def test_on_a_shared_cpu_a_short_call_is_not_split_and_a_long_one_is_fetched_ahead():
    busy = [WorkerLoad(in_flight=1, free_at_s=10.0)]
    growing = Waiting(full=False, call_s=0.0005)
    assert decide(growing, busy, now_s=9.9999, lead_s=0.002) == HandOver(0)
    alone = {"now_s": 9.9999, "lead_s": 0.002, "shared_cpu": True}
    assert decide(growing, busy, **alone) == Look(math.inf)
    assert decide(Waiting(full=True, call_s=0.0005), busy, **alone) == HandOver(0)
    assert decide(Waiting(full=False, call_s=0.01), busy, **alone) == HandOver(0)
    assert decide(growing, [WorkerLoad()], **alone) == HandOver(0)


def test_calls_that_gain_nothing_from_company_wait_at_the_worker_where_it_has_a_cpu_of_its_own():
    busy = [WorkerLoad(in_flight=1, free_at_s=10.0)]
    apart = Waiting(full=False, call_s=0.0005, grows=False)
    assert decide(apart, busy, now_s=9.0, lead_s=0.002) == HandOver(0)
    assert decide(apart, busy, now_s=9.0, lead_s=0.002, shared_cpu=True) == Look(math.inf)


def test_gathering_ends_at_the_first_turn_that_brings_nothing():
    gathering = Gathering()
    waiting = [3, 9, 20, 20, 1, 1]
    goes_on = [gathering.goes_on(count, now_s=1.0) for count in waiting]
    assert goes_on == [True, True, True, False, True, False]


def test_gathering_ends_in_time_whatever_still_comes():
    gathering = Gathering()
    moments_s = [turn / 1024 for turn in range(100)]
    ends = [at_s for at_s in moments_s if not gathering.goes_on(int(at_s * 1e6) + 1, now_s=at_s)]
    assert ends
    assert ends[0] < 0.01


def test_batches_form_by_themselves_while_a_worker_is_busy():
    """One arrival a tick, calls of ten ticks, on a clock of its own: the sizes are exact."""
    tick_s, most = 1 / 1024, 16
    waiting, sizes, ends_s = 0, list[int](), list[float]()
    for tick in range(1, 101):
        now_s = tick * tick_s
        waiting += 1
        ends_s = [end_s for end_s in ends_s if end_s > now_s]
        load = WorkerLoad(in_flight=len(ends_s), free_at_s=min(ends_s, default=0.0))
        # What a call costs is known once the first has ended.
        call_s = 10 * tick_s if tick > 10 else None
        head = Waiting(full=waiting >= most, call_s=call_s)
        if isinstance(decide(head, [load], now_s=now_s, lead_s=tick_s), HandOver):
            taken, _ = fill([1] * waiting, most)
            sizes.append(taken)
            waiting -= taken
            ends_s.append(max([now_s, *ends_s]) + 10 * tick_s)
    # The idle worker takes the first at once; then whatever came during a call, a tick early.
    assert sizes == [1, 10, 9, *[10] * 8]


@pytest.mark.parametrize("call_s", [None, 1.0])
def test_nothing_waits_behind_a_call_that_is_long_or_unknown(call_s):
    busy = [WorkerLoad(in_flight=1, free_at_s=0.0)]
    assert decide(Waiting(full=True, call_s=call_s), busy, now_s=9.0, lead_s=0.001) == Look(
        math.inf
    )


@given(st.integers(1, 2000), st.integers(0, 64), st.none() | st.floats(0, 100))
def test_a_message_holds_a_moment_of_work(waiting, idle, call_s):
    size = message_size(waiting, idle, call_s)
    assert 1 <= size <= waiting
    assert size == 1 or size * (call_s or 0.0) <= 0.0041


@given(
    st.floats(0, 0.1), st.floats(0, 0.01), st.lists(st.integers(1, 100), min_size=3, max_size=60)
)
def test_the_cost_of_a_call_is_learned(fixed, per_row, sizes):
    curve = CostCurve()
    for rows in sizes:
        curve.observe(rows, fixed + per_row * rows)
    for rows in sizes:
        assert curve.predicted_s(rows) == pytest.approx(
            fixed + per_row * rows, rel=0.01, abs=1e-4
        ) or (len(set(sizes)) < 3)
    learned_fixed, learned_slope = curve.line()
    assert learned_fixed >= -1e-12
    assert learned_slope >= 0.0


@given(st.lists(st.floats(-1, 10), max_size=50))
def test_the_lead_stays_within_bounds(overheads):
    lead = Lead()
    for overhead in overheads:
        lead.observe(overhead)
        assert 0.000_1 <= lead.seconds <= 0.002


def test_a_queue_is_served_by_all_workers_side_by_side():
    workers = [WorkerLoad(threads=2), WorkerLoad(threads=2)]
    assert predicted_wait_s(100, 0.01, workers) == pytest.approx(0.25)
    assert math.isinf(predicted_wait_s(1, 0.01, []))
