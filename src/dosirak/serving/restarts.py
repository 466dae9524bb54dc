"""When to start a worker again. Pure.

A worker that was of use before it ended is replaced at once: what ended it was an input, the kernel
or a person, and every moment without it is lost. One that ends again and again soon after it became
ready is replaced ever later. One that cannot even start is given up after a few attempts in a row,
because trying again will not help. One for which the system lacks something (descriptors, memory,
processes) is tried again for as long as it takes: that passes. Crashes alone never end a service:
one bad request in a thousand must not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0
MOST_FAILED_STARTS = 5
# What the system lacks may come back at any moment.
LONGEST_LACK_S = 5.0
# A worker that was ready for this long was of use.
USEFUL_S = 1.0


@dataclass(slots=True)
class RestartBudget:
    """What one place for a worker has been through."""

    _ready_s: float = math.inf
    _short_lives: int = 0
    _failed_starts: int = 0
    _lacks: int = 0

    def started(self, now_s: float) -> None:
        """A worker became ready."""
        self._ready_s = now_s
        self._failed_starts = self._lacks = 0

    def lacked(self) -> float:
        """The system could not start one; return how long to wait before it is tried again."""
        self._lacks += 1
        return min(LONGEST_LACK_S, FIRST_DELAY_S * 2 ** min(16, self._lacks - 1))

    def ended(self, now_s: float, *, was_ready: bool) -> float | None:
        """A worker ended; return how long to wait before the next, or None to give up."""
        was_useful = was_ready and now_s - self._ready_s >= USEFUL_S
        self._ready_s = math.inf
        self._short_lives = 0 if was_useful else self._short_lives + 1
        self._failed_starts += not was_ready
        if self._failed_starts >= MOST_FAILED_STARTS:
            return None
        # The exponent is bounded: a float does not hold 2 to the thousandth power.
        return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2 ** min(16, max(0, self._short_lives - 1)))
