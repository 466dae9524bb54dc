"""How large batches may be, and whom to turn away, so that answers keep the promised p95.

    cost curve, measured latencies → rows of the next batch, whether a request still has a chance

A request that arrives just after a batch began waits for that batch and then runs in the next: its
latency is two calls. So the largest batch is the one whose call takes half of the budget; smaller
ones would cost throughput and gain nothing that was promised. The budget begins as the promise and
follows what is measured: each late answer lowers it, each timely one raises it, by steps that
balance when one in twenty is late (Robbins and Monro's stochastic approximation of a quantile).

When more arrives than such batches can carry, larger ones would make everybody late. Then those who
would be late are told at once, and the rest are answered as promised.
"""

from __future__ import annotations

from collections.abc import Iterable

from dosirak.serving.cost_curve import CostCurve

_LATE = 0.05
# How far one answer moves the budget, as a part of the promise.
_STEP = 0.01
_LEAST_BUDGET = 0.2


class LatencyGoal:
    """What was promised for one api, and what keeping it takes.

    Args:
        p95_s: nineteen of twenty answers come within this.
    """

    __slots__ = ("_budget_s", "p95_s")

    def __init__(self, p95_s: float) -> None:
        self.p95_s = p95_s
        self._budget_s = p95_s

    @property
    def budget_s(self) -> float:
        """The time that waiting and calling may take together."""
        return self._budget_s

    def observe(self, latencies_s: Iterable[float]) -> None:
        """Learn from answers: how long after its arrival each was sent."""
        late = timely = 0
        for latency_s in latencies_s:
            if latency_s > self.p95_s:
                late += 1
            else:
                timely += 1
        step = self.p95_s * _STEP * (_LATE * timely - (1.0 - _LATE) * late)
        self._budget_s = min(self.p95_s, max(_LEAST_BUDGET * self.p95_s, self._budget_s + step))

    def rows(self, curve: CostCurve, most: int) -> int:
        """Return the rows of the largest batch that keeps the promise.

        Where not even a single row does, small batches would only make the queue longer.
        """
        rows = curve.rows_within(self._budget_s / 2.0) or curve.rows_within(self._budget_s)
        return min(most, rows) if rows else most

    def has_chance(self, wait_s: float, call_s: float) -> bool:
        """Whether a request that waits this long for a call this long is answered in time."""
        return wait_s + call_s <= self._budget_s
