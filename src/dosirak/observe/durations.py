"""A histogram that takes many observations at once, for paths on which each microsecond counts.

It belongs to one thread, the front's loop, so it needs no lock; a scrape reads it on the same loop.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class Histograms(Collector):
    """Histograms of one name, one for each set of labels.

    Args:
        name: the metric's name.
        documentation: what it says.
        labels: the names of its labels.
        bounds: the upper bounds of the buckets, ascending; the last bucket has none.
    """

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, labels: tuple[str, ...], value: float, times: int = 1) -> None:
        """Count one value, as often as it occurred."""
        self._counts_of(labels)[bisect_left(self._bounds, value)] += times
        self._sums[labels] += value * times

    def observe_all(self, labels: tuple[str, ...], values: Sequence[float]) -> None:
        """Count several values, at least one."""
        counts = self._counts_of(labels)
        bounds = self._bounds
        self._sums[labels] += sum(values)
        # What was answered together mostly took about as long.
        bucket = bisect_left(bounds, min(values))
        if bucket == bisect_left(bounds, max(values)):
            counts[bucket] += len(values)
            return
        for value in values:
            counts[bisect_left(bounds, value)] += 1

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Return everything counted (a registry calls this)."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, counts in self._counts.items():
            cumulative = list(zip(bounds, map(float, accumulate(counts)), strict=True))
            family.add_metric(labels, buckets=cumulative, sum_value=self._sums[labels])
        yield family

    def _counts_of(self, labels: tuple[str, ...]) -> list[int]:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._sums[labels] = 0.0
        return counts
