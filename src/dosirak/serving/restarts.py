"""When to start a worker again. Pure.

A worker that crashed is replaced at once the first time and ever later when crashes follow each
other; a worker that cannot even start is given up after a few attempts in a row, because trying
again will not help. Crashes alone never end a service: one bad request in a thousand must not.
"""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW_S = 60.0
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0
MOST_FAILED_STARTS = 5


@dataclass(slots=True)
class RestartBudget:
    """What one place for a worker has been through."""

    _ends_s: list[float] = field(default_factory=list[float])
    _failed_starts: int = 0

    def started(self) -> None:
        """A worker became ready."""
        self._failed_starts = 0

    def ended(self, now_s: float, *, was_ready: bool) -> float | None:
        """A worker ended; return how long to wait before the next, or None to give up."""
        self._ends_s = [end_s for end_s in self._ends_s if now_s - end_s < WINDOW_S] + [now_s]
        self._failed_starts += not was_ready
        if self._failed_starts >= MOST_FAILED_STARTS:
            return None
        # The exponent is bounded: a float does not hold 2 to the thousandth power.
        return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(16, len(self._ends_s) - 1))
