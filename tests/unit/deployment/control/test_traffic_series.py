"""Rings of traffic, and how points are joined."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.deployment.control.traffic_series import (
    NOTHING,
    TrafficPoint,
    TrafficRing,
    joined_over_revisions,
    joined_over_time,
)


def _point(rate: float) -> TrafficPoint:
    return TrafficPoint(requests_per_s=rate)


def test_a_missed_step_stays_empty():
    ring = TrafficRing(2.0, 10)
    ring.put(100.0, _point(1))
    ring.put(106.5, _point(2))
    assert [(at, one.requests_per_s) for at, one in ring.points()] == [(100.0, 1), (106.0, 2)]


def test_points_since_are_those_of_later_steps():
    ring = TrafficRing(2.0, 10)
    for at in (100.0, 102.0, 104.0):
        ring.put(at, _point(at))
    assert [at for at, _ in ring.points(102.0)] == [104.0]


def test_a_clock_that_goes_back_changes_nothing():
    ring = TrafficRing(2.0, 10)
    ring.put(100.0, _point(1))
    ring.put(90.0, _point(2))
    assert [at for at, _ in ring.points()] == [100.0]


@given(st.lists(st.integers(0, 400), min_size=1, max_size=200), st.integers(1, 20))
def test_a_ring_keeps_the_newest_of_each_step_and_no_more_than_it_holds(
    steps: list[int], capacity: int
):
    ring = TrafficRing(1.0, capacity)
    kept: dict[int, float] = {}
    newest = -1
    for number, step in enumerate(steps):
        ring.put(float(step), _point(float(number)))
        if step >= newest:
            newest = step
            kept[step] = float(number)
    expected = {step: value for step, value in kept.items() if step > newest - capacity}
    assert {int(at): one.requests_per_s for at, one in ring.points()} == expected


def test_over_time_rates_are_means_and_latencies_the_worst():
    joined = joined_over_time(
        [
            TrafficPoint(10, 1, 5.0, 10.0, 20.0, 4.0, 3, 1),
            TrafficPoint(30, 3, NOTHING, 50.0, 15.0, NOTHING, 1, 2),
        ]
    )
    assert joined == TrafficPoint(20, 2, 5.0, 50.0, 20.0, 4.0, 3, 2)


def test_over_revisions_rates_add_up_and_latencies_weigh_by_requests():
    joined = joined_over_revisions(
        [TrafficPoint(90, 1, 10.0, 10.0, 10.0), TrafficPoint(10, 2, 20.0, 20.0, 20.0)]
    )
    assert (joined.requests_per_s, joined.errors_per_s) == (100, 3)
    assert joined.p50_ms == pytest.approx(11.0)


def test_a_revision_without_requests_says_nothing_of_latency():
    joined = joined_over_revisions([TrafficPoint(0, 0, 500.0, 500.0, 500.0)])
    assert math.isnan(joined.p99_ms)


def test_nothing_joined_is_no_traffic():
    assert joined_over_time([]).requests_per_s == 0
    assert joined_over_revisions([]).requests_per_s == 0
