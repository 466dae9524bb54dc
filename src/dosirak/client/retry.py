"""When a request is sent again, and after how long. Pure: no clock, no sleep, no chance of its own.

The rules, in order:
- A request that was never sent (no connection) may always be sent again.
- One that may have reached the service is sent again only when its api is idempotent, and only for
  failures that another moment may cure: a broken connection, 429, 502, 503, 504.
- `Retry-After` is a lower bound on the wait. Otherwise waits grow exponentially with full jitter.
- No wait may end after the deadline of the call: then the failure is reported at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

REPEATABLE_STATUSES = frozenset({429, 502, 503, 504})


class Reach(Enum):
    """How far a failed request got."""

    UNSENT = auto()  # no connection: the service has not seen it
    SENT = auto()  # it may have been carried out
    FINAL = auto()  # sending it again would fail again


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how patiently, a request is sent again.

    Attributes:
        retries: attempts after the first.
        first_wait_s: the longest wait before the first retry; doubles with each.
        longest_wait_s: the longest wait that backing off grows to.
    """

    retries: int = 2
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0

    def wait_s(
        self,
        attempt: int,
        reach: Reach,
        *,
        idempotent: bool,
        remaining_s: float,
        draw: float,
        retry_after_s: float | None = None,
    ) -> float | None:
        """Return how long to wait before the next attempt, or None when there is none.

        Args:
            attempt: how many retries have been made already.
            reach: how far the failed attempt got.
            idempotent: whether carrying the request out twice does no harm.
            remaining_s: time left until the call's deadline; infinite without one.
            draw: a random number in [0, 1).
            retry_after_s: what the server asked for.
        """
        if attempt >= self.retries or not _may_repeat(reach, idempotent=idempotent):
            return None
        # The exponent is capped only so that a caller's thousandth retry does not overflow.
        backoff_s = draw * min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(attempt, 60))
        wait_s = backoff_s if retry_after_s is None else retry_after_s + draw * self.first_wait_s
        return wait_s if wait_s < remaining_s else None


def _may_repeat(reach: Reach, *, idempotent: bool) -> bool:
    return reach is Reach.UNSENT or (reach is Reach.SENT and idempotent)


def retry_after_s(value: str, *, now: datetime) -> float | None:
    """Read a `Retry-After` header: seconds or an HTTP date; None when it is neither."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])  # more digits are centuries, and would overflow further on
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
