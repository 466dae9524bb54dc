"""Numbers over time in a fixed amount of memory: one ring of steps, and how steps are joined.

A ring holds one point for each step of the clock. A step that was missed stays empty, and the
oldest point makes room for the newest. Pure; the clock comes with each point.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

NOTHING = math.nan


@dataclass(frozen=True, slots=True)
class TrafficPoint:
    """What went through in one step; what is not known is not a number.

    Attributes:
        p50_ms: latencies as the router measured them.
        batch_rows: rows in one message to a worker, on average.
        in_flight: requests that were being answered at the end of it.
        replicas: ready ones.
    """

    requests_per_s: float = 0.0
    errors_per_s: float = 0.0
    p50_ms: float = NOTHING
    p95_ms: float = NOTHING
    p99_ms: float = NOTHING
    batch_rows: float = NOTHING
    in_flight: float = 0.0
    replicas: float = 0.0


EMPTY = TrafficPoint()
FIELDS = tuple(field.name for field in fields(TrafficPoint))
_WIDTH = len(FIELDS)
_VALUES = attrgetter(*FIELDS)
_UNKNOWN = array("f", [NOTHING] * _WIDTH)


class TrafficRing:
    """The last points, one for each step.

    Args:
        step_s: how long a step is.
        capacity: how many are kept.
    """

    def __init__(self, step_s: float, capacity: int) -> None:
        self.step_s = step_s
        self._capacity = capacity
        self._values = array("f")
        self._newest = -1

    def put(self, at: float, point: TrafficPoint) -> None:
        """Keep a point; one of the same step is replaced, one before the newest is left out."""
        step = int(at // self.step_s)
        if step < self._newest:
            return
        if not self._values:
            self._values = _UNKNOWN * self._capacity
            self._newest = step - 1
        for missed in range(max(self._newest + 1, step - self._capacity), step):
            self._write(missed, _UNKNOWN)
        self._write(step, array("f", _VALUES(point)))
        self._newest = step

    def points(self, since: float = -math.inf) -> Iterator[tuple[float, TrafficPoint]]:
        """Return the points that are known of steps that began after `since`, oldest first."""
        if not self._values:
            return
        oldest = max(self._newest - self._capacity + 1, 0)
        if since > oldest * self.step_s:
            oldest = min(int(since // self.step_s), self._newest)
        for step in range(oldest, self._newest + 1):
            if step * self.step_s <= since:
                continue
            found = self._read(step)
            if not math.isnan(found.requests_per_s):
                yield step * self.step_s, found

    def column(self, name: str, steps: int) -> Iterator[float]:
        """Return one field of the last steps, those that are not known left out."""
        if not self._values:
            return
        offset = FIELDS.index(name)
        for step in range(max(self._newest - min(steps, self._capacity) + 1, 0), self._newest + 1):
            value = self._values[step % self._capacity * _WIDTH + offset]
            if not math.isnan(value):
                yield value

    def last(self) -> tuple[float, TrafficPoint] | None:
        """Return the newest point with the time at which its step began."""
        return (self._newest * self.step_s, self._read(self._newest)) if self._values else None

    def _write(self, step: int, values: array[float]) -> None:
        begin = step % self._capacity * _WIDTH
        self._values[begin : begin + _WIDTH] = values

    def _read(self, step: int) -> TrafficPoint:
        begin = step % self._capacity * _WIDTH
        return TrafficPoint(*self._values[begin : begin + _WIDTH])


def joined_over_time(points: Sequence[TrafficPoint]) -> TrafficPoint:
    """Return one point for several steps: mean rates, the worst latencies, the last counts.

    The worst latency of a minute is what people look for in a day; a mean would hide it.
    """
    if not points:
        return EMPTY
    return TrafficPoint(
        requests_per_s=_mean([one.requests_per_s for one in points]),
        errors_per_s=_mean([one.errors_per_s for one in points]),
        p50_ms=_greatest([one.p50_ms for one in points]),
        p95_ms=_greatest([one.p95_ms for one in points]),
        p99_ms=_greatest([one.p99_ms for one in points]),
        batch_rows=_mean([one.batch_rows for one in points]),
        in_flight=_greatest([one.in_flight for one in points]),
        replicas=points[-1].replicas,
    )


def joined_over_revisions(points: Sequence[TrafficPoint]) -> TrafficPoint:
    """Return one point for the revisions of a deployment: sums, and means by their requests.

    A percentile of all cannot be had from percentiles of each; the mean by requests lies between
    them, and is exact while one revision has the traffic.
    """
    shares = [one.requests_per_s for one in points]
    return TrafficPoint(
        requests_per_s=sum(shares),
        errors_per_s=sum(one.errors_per_s for one in points),
        p50_ms=_weighted([one.p50_ms for one in points], shares),
        p95_ms=_weighted([one.p95_ms for one in points], shares),
        p99_ms=_weighted([one.p99_ms for one in points], shares),
        batch_rows=_weighted([one.batch_rows for one in points], shares),
        in_flight=sum(one.in_flight for one in points),
        replicas=sum(one.replicas for one in points),
    )


def _known(values: Sequence[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _mean(values: Sequence[float]) -> float:
    known = _known(values)
    return sum(known) / len(known) if known else NOTHING


def _greatest(values: Sequence[float]) -> float:
    return max(_known(values), default=NOTHING)


def _weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    known = [(v, w) for v, w in zip(values, weights, strict=True) if not math.isnan(v) and w > 0]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else NOTHING
