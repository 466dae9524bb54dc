"""From the router's counters to series: rates, gaps, restarts, bounds."""

from __future__ import annotations

import sys

import pytest

from dosirak.deployment.control.traffic_history import STEP_S, Counted, TrafficHistory
from dosirak.deployment.routing import RevisionTraffic

_BEGAN = 1_800_000_000.0


def _counted(requests: int, errors: int = 0, *, name: str = "iris", revision: int = 1) -> Counted:
    latency = {"p50": 2.0, "p95": 8.0, "p99": 16.0}
    traffic = RevisionTraffic(name, revision, requests, errors, 1, latency)
    return Counted((traffic,), {(name, revision): 2})


def _history(*counters: int) -> TrafficHistory:
    history = TrafficHistory()
    for step, requests in enumerate(counters):
        history.take(_counted(requests), _BEGAN + STEP_S * step)
    return history


def test_the_first_counters_have_no_rate():
    assert _history(1_000_000).latest()["iris"].requests_per_s == 0


def test_rates_are_what_was_counted_since():
    history = TrafficHistory()
    history.take(_counted(100, 0), _BEGAN)
    history.take(_counted(140, 4), _BEGAN + 2)
    point = history.latest()["iris"]
    assert (point.requests_per_s, point.errors_per_s) == (20.0, 2.0)
    assert (point.p95_ms, point.replicas) == (8.0, 2.0)


def test_a_late_step_is_divided_by_its_own_time():
    history = TrafficHistory()
    history.take(_counted(0), _BEGAN)
    history.take(_counted(100), _BEGAN + 10)
    assert history.latest()["iris"].requests_per_s == 10.0


def test_a_router_that_began_anew_counts_from_nothing():
    assert _history(500, 40).latest()["iris"].requests_per_s == 20.0


def test_no_latency_is_told_while_nothing_goes_through():
    window = _history(7, 7).window("iris")
    assert window.columns["p99_ms"] == [None, None]


def test_a_window_goes_on_where_the_one_before_ended():
    history = _history(0, 2, 4)
    first = history.window("iris")
    history.take(_counted(10), _BEGAN + 6)
    rest = history.window("iris", since=first.at[-1])
    assert (first.columns["requests_per_s"], rest.columns["requests_per_s"]) == ([0, 1, 1], [3.0])


def test_a_day_is_kept_by_the_minute_for_the_deployment():
    history = TrafficHistory()
    for step in range(90):
        history.take(_counted(step * 10), _BEGAN + STEP_S * step)
    window = history.window("iris", long=True)
    assert window.step_s == 60.0
    assert len(window.at) == 3
    assert window.columns["requests_per_s"][1] == pytest.approx(5.0)


def test_revisions_have_series_of_their_own():
    history = TrafficHistory()
    for step in (0, 1):
        traffic = tuple(
            RevisionTraffic("iris", number, step * number * 10, 0, 0, {}) for number in (1, 2)
        )
        history.take(Counted(traffic), _BEGAN + STEP_S * step)
    rates = {n: one.requests_per_s for n, one in history.latest_of_revisions("iris").items()}
    assert rates == {1: 5.0, 2: 10.0}
    assert history.latest()["iris"].requests_per_s == 15.0
    assert history.window("iris", revision=2).columns["requests_per_s"] == [0, 10.0]


def test_a_revision_that_is_gone_is_not_told_and_then_forgotten():
    history = TrafficHistory()
    history.take(_counted(1, revision=1), _BEGAN)
    history.take(_counted(1, revision=2), _BEGAN + STEP_S)
    assert set(history.latest_of_revisions("iris")) == {2}
    history.take(_counted(1, revision=2), _BEGAN + 2000)
    assert history.window("iris", revision=1).at == []


def test_a_deployment_that_is_gone_is_not_told_as_if_it_had_traffic():
    history = TrafficHistory()
    history.take(_counted(1), _BEGAN)
    history.take(_counted(1, name="other"), _BEGAN + 60)
    assert set(history.latest()) == {"other"}
    history.take(_counted(1, name="other"), _BEGAN + 90_000)
    assert history.recent_rates(5).keys() == {"other"}


def test_a_replica_is_seen_before_the_router_counts_anything():
    history = TrafficHistory()
    history.take(Counted((), {("iris", 1): 3}), _BEGAN)
    point = history.latest()["iris"]
    assert (point.replicas, point.requests_per_s) == (3.0, 0.0)


def test_what_nobody_knows_is_an_empty_window():
    assert TrafficHistory().window("none").at == []


def test_the_memory_of_a_series_does_not_grow_with_time():
    history = TrafficHistory()

    def size() -> int:
        series = history._series["iris"]  # pyright: ignore[reportPrivateUsage]
        rings = (series.fine, series.long, *series.revisions.values())
        return sum(sys.getsizeof(ring._values) for ring in rings)  # pyright: ignore[reportPrivateUsage]

    for step in range(3):
        history.take(_counted(step), _BEGAN + STEP_S * step)
    before = size()
    for step in range(3, 1500):
        history.take(_counted(step), _BEGAN + STEP_S * step)
    assert size() == before < 100_000
