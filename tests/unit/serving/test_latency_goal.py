"""The promise: kept where it can be, and those who would be late are told at once."""

from __future__ import annotations

import heapq
import random
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.serving.cost_curve import CostCurve
from dosirak.serving.latency_goal import LatencyGoal

FIXED_S, ROW_S = 0.005, 0.0005


def learned(fixed_s: float = FIXED_S, row_s: float = ROW_S) -> CostCurve:
    curve = CostCurve()
    for rows in (1, 2, 4, 8, 16, 32, 64):
        curve.observe(rows, fixed_s + row_s * rows)
    return curve


def simulate(
    p95_s: float | None, rate_per_s: float, *, most: int = 256, count: int = 20_000, seed: int = 7
) -> tuple[list[float], int]:
    """Serve Poisson arrivals with one worker; return the latencies of the admitted, and refusals.

    Time is only counted, never waited for. A worker that is free takes what waits, as the policy
    does; calls cost what the curve says, give or take a fifth.
    """
    random_number = random.Random(seed)
    curve, goal = CostCurve(), LatencyGoal(p95_s) if p95_s else None
    arrivals: list[float] = []
    now_s = 0.0
    for _ in range(count):
        now_s += random_number.expovariate(rate_per_s)
        arrivals.append(now_s)
    heapq.heapify(arrivals)
    queue: list[float] = []
    latencies: list[float] = []
    refused = 0
    free_at_s = 0.0
    while arrivals or queue:
        while arrivals and (not queue or arrivals[0] <= free_at_s):
            arrived_s = heapq.heappop(arrivals)
            rows = goal.rows(curve, most) if goal else most
            if goal and curve.is_known and queue:
                call_s = curve.predicted_s(rows)
                if not goal.has_chance(len(queue) * call_s / rows, call_s):
                    refused += 1
                    continue
            queue.append(arrived_s)
        began_s = max(free_at_s, queue[0])
        rows = min(len(queue), goal.rows(curve, most) if goal else most)
        batch, queue = queue[:rows], queue[rows:]
        call_s = (FIXED_S + ROW_S * rows) * random_number.uniform(0.8, 1.2)
        free_at_s = began_s + call_s
        curve.observe(rows, call_s)
        took_s = [free_at_s - arrived_s for arrived_s in batch]
        latencies += took_s
        if goal:
            goal.observe(took_s)
    return latencies, refused


def p95(latencies: list[float]) -> float:
    return quantiles(latencies, n=20)[-1]


@pytest.mark.parametrize("rate_per_s", [50, 300, 800, 1200])
def test_a_promise_that_can_be_kept_is_kept_and_nobody_is_refused_for_it(rate_per_s):
    latencies, refused = simulate(0.100, rate_per_s)
    assert p95(latencies) <= 0.100
    assert refused <= 0.01 * 20_000


@pytest.mark.parametrize("rate_per_s", [3_000, 10_000])
def test_in_overload_the_admitted_are_answered_as_promised(rate_per_s):
    latencies, refused = simulate(0.060, rate_per_s)
    assert p95(latencies) <= 0.060 * 1.1
    # A batch of half the promise carries 50 rows in 30 ms: the admitted are most of that.
    assert len(latencies) / 20_000 * rate_per_s >= 0.75 * 50 / 0.030
    assert refused > 0


def test_without_a_promise_overload_makes_everybody_late():
    latencies, refused = simulate(None, 3_000)
    assert p95(latencies) > 0.060
    assert refused == 0


def test_the_batch_is_the_largest_of_which_two_fit_into_the_promise():
    assert LatencyGoal(0.060).rows(learned(), 1_000) == 50
    assert LatencyGoal(0.060).rows(learned(), 16) == 16


def test_where_no_batch_keeps_the_promise_throughput_is_kept():
    assert LatencyGoal(0.004).rows(learned(), 64) == 64


def test_late_answers_lower_the_budget_and_timely_ones_restore_it():
    goal = LatencyGoal(0.1)
    goal.observe([0.2] * 20)
    lowered = goal.budget_s
    assert lowered < 0.1
    goal.observe([0.01] * 10_000)
    assert goal.budget_s == 0.1


@given(st.lists(st.floats(0, 10), max_size=200), st.floats(0.001, 10))
def test_the_budget_stays_between_a_fifth_of_the_promise_and_all_of_it(latencies, promise_s):
    goal = LatencyGoal(promise_s)
    goal.observe(latencies)
    assert 0.2 * promise_s <= goal.budget_s <= promise_s


@given(st.integers(1, 300), st.floats(1e-5, 0.1), st.floats(1e-6, 0.01))
def test_the_rows_of_a_time_are_those_whose_call_fits_it(rows, fixed_s, row_s):
    curve = learned(fixed_s, row_s)
    found = curve.rows_within(curve.predicted_s(rows) * (1 + 1e-9))
    assert found == pytest.approx(rows, abs=1, rel=0.02)


def test_a_curve_from_elsewhere_is_only_a_beginning():
    elsewhere = CostCurve()
    for _ in range(500):
        for rows in (1, 10, 100):
            elsewhere.observe(rows, 1.0 + 0.1 * rows)
    curve = elsewhere.as_beginning()
    assert curve.line() == pytest.approx(elsewhere.line())
    for _ in range(60):
        for rows in (1, 10, 100):
            curve.observe(rows, 0.001 + 0.0001 * rows)
    assert curve.predicted_s(100) < elsewhere.predicted_s(100) / 10
