"""What is said to whom was not answered in time: which limit it was, and whose to change. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dosirak.errors import DeadlineExceeded

# A caller may shorten its own deadline, in seconds.
TIMEOUT_HEADER = "x-request-timeout"


def not_in_time(api: str, headers: Mapping[str, str], allowed_s: float) -> DeadlineExceeded:
    """Return the error for a call that was not answered by its deadline.

    Args:
        api: the api's name.
        headers: those of the request, their names in lower case.
        allowed_s: what the api or the server allows a call, whatever its caller does.
    """
    remedy = "Send less at once, or raise the api's timeout_s."
    if _asked_s(headers) < allowed_s:
        remedy = "Allow more time with X-Request-Timeout, or send less at once."
    return DeadlineExceeded(f"The api {api!r} did not answer in time.", remedy=remedy)


def _asked_s(headers: Mapping[str, str]) -> float:
    try:
        return float(headers[TIMEOUT_HEADER])
    except (KeyError, ValueError):
        return math.inf
