"""Whose limit it was that a call ran into."""

from __future__ import annotations

import pytest

from dosirak.serving.lateness import not_in_time


@pytest.mark.parametrize(
    ("headers", "first"),
    [
        ({}, "Send less at once, or raise the api's timeout_s."),
        ({"x-request-timeout": "60"}, "Send less at once, or raise the api's timeout_s."),
        ({"x-request-timeout": "soon"}, "Send less at once, or raise the api's timeout_s."),
        ({"x-request-timeout": "0.5"}, "Allow more time with X-Request-Timeout, or send less"),
    ],
)
def test_the_limit_that_ended_it_is_named_first(headers: dict[str, str], first: str) -> None:
    error = not_in_time("slow", headers, 2.0)
    assert error.http_status == 504
    assert error.remedy.startswith(first)
