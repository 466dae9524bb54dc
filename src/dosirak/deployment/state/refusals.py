"""How many refused attempts the audit log takes, so that a flood of them fills no disk.

A thousand at once, and a thousand more each minute; the rest is counted, and the count is written
with the next one that is taken.
"""

from __future__ import annotations

import threading

AT_ONCE = 1000
PER_S = AT_ONCE / 60


class RefusalBudget:
    """What may still be written; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = float(AT_ONCE)
        self._at: float | None = None
        self._omitted = 0

    def take(self, now: float) -> int | None:
        """Take a place at the time `now` (monotonic).

        Returns:
            How many went without one since the last that was taken; None if there is no place.
        """
        with self._lock:
            since_s = 0.0 if self._at is None else max(0.0, now - self._at)
            self._at = now
            self._left = min(AT_ONCE, self._left + since_s * PER_S)
            if self._left < 1:
                self._omitted += 1
                return None
            self._left -= 1
            omitted, self._omitted = self._omitted, 0
            return omitted
