"""A counter for paths on which each microsecond counts, like `durations.Histograms`.

It belongs to one thread, the front's loop, so it needs no lock; a scrape reads it on the same loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class Counts(Collector):
    """Counters of one name, one for each set of labels.

    Args:
        name: the metric's name, without `_total`.
        documentation: what it says.
        labels: the names of its labels.
    """

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, labels: tuple[str, ...], count: int = 1) -> None:
        """Count this often."""
        self._counts[labels] = self._counts.get(labels, 0) + count

    def forget(self, labels: tuple[str, ...]) -> None:
        """Drop what was counted with these labels."""
        self._counts.pop(labels, None)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return everything counted (a registry calls this)."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family
