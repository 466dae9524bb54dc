"""How numbers, times and small charts are written."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.deployment.console.drawings import bar_parts, spark_points
from dosirak.deployment.console.figures import (
    ago_text,
    milliseconds_text,
    percent_text,
    rate_text,
    size_text,
)
from dosirak.deployment.views import TrafficShare

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "–"), (0, "0"), (0.416, "0.42"), (7.31, "7.3"), (12400.4, "12,400")],
)
def test_rates(value: float | None, text: str):
    assert rate_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.844, "0.84 ms"), (12.4, "12 ms"), (1900, "1.9 s")]
)
def test_latencies(value: float | None, text: str):
    assert milliseconds_text(value) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [(0, "0 %"), (0.0001, "<0.1 %"), (1.23, "1.2 %"), (50, "50 %"), (100, "100 %")],
)
def test_shares(part: float, text: str):
    assert percent_text(part, 100) == text


def test_a_share_of_nothing_is_not_known():
    assert percent_text(0, 0) == "–"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (3400, "3.4 kB"), (2.5e8, "250 MB"), (4e15, "4000.0 TB")],
)
def test_sizes(size: float, text: str):
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "just now"),
        (40, "40 s ago"),
        (3599, "59 min ago"),
        (-600, "in 10 min"),
        (200000, "2 d ago"),
    ],
)
def test_how_long_ago(seconds: float, text: str):
    assert ago_text(NOW - timedelta(seconds=seconds), NOW) == text


@given(st.lists(st.floats(0, 1e9), max_size=100), st.integers(2, 60))
def test_a_line_is_made_of_numbers_within_its_box(rates: list[float], slots: int):
    for point in spark_points(rates, slots).split():
        x, y = (float(part) for part in point.split(","))
        assert -0.1 <= x <= 96.1
        assert 0 <= y <= 24


def test_nothing_is_drawn_of_nothing():
    assert spark_points([0.0] * 60, 60) == ""
    assert spark_points([5.0], 60) == ""


def test_a_bar_is_laid_out_from_the_older_revision():
    shares = [
        TrafficShare(revision=3, weight_percent=25, ready_replicas=1),
        TrafficShare(revision=2, weight_percent=75, ready_replicas=1),
    ]
    assert [(part.revision, part.x, part.width) for part in bar_parts(shares)] == [
        (2, 0, 75),
        (3, 75, 25),
    ]
