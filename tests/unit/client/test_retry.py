from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosirak.client.retry import Reach, RetryPolicy, retry_after_s

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
draws = st.floats(0, 1, exclude_max=True)


def wait(attempt: int = 0, reach: Reach = Reach.SENT, **changes: object) -> float | None:
    given_values = {"idempotent": True, "remaining_s": 30.0, "draw": 0.5, **changes}
    return RetryPolicy(retries=2).wait_s(attempt, reach, **given_values)  # type: ignore[arg-type]


def test_a_request_never_sent_is_repeated_whatever_the_api() -> None:
    assert wait(reach=Reach.UNSENT, idempotent=False) is not None


def test_a_request_that_was_sent_is_repeated_only_where_that_does_no_harm() -> None:
    assert wait(reach=Reach.SENT, idempotent=True) is not None
    assert wait(reach=Reach.SENT, idempotent=False) is None


def test_a_final_failure_is_never_repeated() -> None:
    assert wait(reach=Reach.FINAL) is None


def test_retries_are_counted() -> None:
    assert [wait(attempt) is None for attempt in range(4)] == [False, False, True, True]


def test_the_server_may_ask_for_a_longer_wait_but_not_past_the_deadline() -> None:
    waited = wait(retry_after_s=3.0)
    assert waited is not None
    assert waited >= 3.0
    assert wait(retry_after_s=31.0) is None


@given(attempt=st.integers(0, 5000), draw=draws, remaining=st.floats(0, 1e6))
def test_every_wait_ends_before_the_deadline_and_stays_under_the_ceiling(
    attempt: int, draw: float, remaining: float
) -> None:
    policy = RetryPolicy(retries=10**6)
    waited = policy.wait_s(attempt, Reach.SENT, idempotent=True, remaining_s=remaining, draw=draw)
    assert waited is None or (0 <= waited < remaining and waited <= policy.longest_wait_s)


def test_the_ceiling_of_waits_doubles() -> None:
    policy = RetryPolicy(retries=9, first_wait_s=0.1, longest_wait_s=0.5)
    waits = [
        policy.wait_s(n, Reach.SENT, idempotent=True, remaining_s=9.0, draw=1.0) for n in range(4)
    ]
    assert waits == [0.1, 0.2, 0.4, 0.5]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 12 ", 12.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0.0),
        ("soon", None),
        ("-3", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after_s(value, now=NOW) == seconds


@given(st.text())
def test_any_retry_after_is_read_or_ignored(value: str) -> None:
    seconds = retry_after_s(value, now=NOW)
    assert seconds is None or seconds >= 0
