"""What went through each deployment lately, from the router's counters, in bounded memory.

    counters of the router ─▶ rates since the step before ─▶ rings: 2 s for 15 min, 1 min for a day

A deployment costs about 60 kB, whatever its traffic, and one of its revisions 14 kB while it is
routed. One thread writes (`traffic_collector`), others read; nothing is kept over a restart.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dosirak.deployment.control.traffic_series import (
    EMPTY,
    FIELDS,
    NOTHING,
    TrafficPoint,
    TrafficRing,
    joined_over_revisions,
    joined_over_time,
)
from dosirak.deployment.routing import RevisionTraffic

STEP_S = 2.0
_STEPS = 450
_LONG_STEP_S = 60.0
_LONG_STEPS = 1440
# A series that got nothing for so long belongs to a deployment or revision that is gone.
_FORGOTTEN_AFTER_S = STEP_S * _STEPS

RevisionKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Counted:
    """All that was counted at one moment.

    Attributes:
        traffic: the router's counters.
        replicas: ready replicas of each revision.
        batch_rows: mean rows in one message to a worker, where it is known.
    """

    traffic: tuple[RevisionTraffic, ...]
    replicas: Mapping[RevisionKey, int] = field(default_factory=dict[RevisionKey, int])
    batch_rows: Mapping[RevisionKey, float] = field(default_factory=dict[RevisionKey, float])


@dataclass(frozen=True, slots=True)
class _Totals:
    at: float
    requests: int
    errors: int


class _DeploymentSeries:
    """One deployment: fine steps, minutes, and the fine steps of each revision."""

    def __init__(self) -> None:
        self.fine = TrafficRing(STEP_S, _STEPS)
        self.long = TrafficRing(_LONG_STEP_S, _LONG_STEPS)
        self.revisions: dict[int, TrafficRing] = {}
        self._minute = 0
        self._in_minute: list[TrafficPoint] = []

    def put(self, at: float, of_revisions: Mapping[int, TrafficPoint]) -> None:
        point = joined_over_revisions(list(of_revisions.values()))
        self.fine.put(at, point)
        minute = int(at // _LONG_STEP_S)
        if minute != self._minute:
            self._minute, self._in_minute = minute, []
        self._in_minute.append(point)
        self.long.put(at, joined_over_time(self._in_minute))
        for number, one in of_revisions.items():
            self.revisions.setdefault(number, TrafficRing(STEP_S, _STEPS)).put(at, one)
        self._forget_revisions(at)

    def _forget_revisions(self, at: float) -> None:
        self.revisions = {
            number: ring
            for number, ring in self.revisions.items()
            if _last_at(ring) > at - _FORGOTTEN_AFTER_S
        }


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a series, by column, as charts take it.

    Attributes:
        step_s: how long each point is.
        at: when each began, in seconds since the epoch.
        columns: one list for each field of `TrafficPoint`; None where nothing is known.
    """

    step_s: float
    at: list[float]
    columns: dict[str, list[float | None]]


class TrafficHistory:
    """The series of all deployments."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[str, _DeploymentSeries] = {}
        self._before: dict[RevisionKey, _Totals] = {}
        self._at = -math.inf
        self.version = 0

    def take(self, counted: Counted, at: float) -> None:
        """Take in what was counted, at a moment that is later than the one before."""
        with self._lock:
            rates = self._rates(counted, at)
            for name, of_revisions in rates.items():
                self._series.setdefault(name, _DeploymentSeries()).put(at, of_revisions)
            self._forget(at)
            self._at = at
            self.version += 1

    def latest(self) -> dict[str, TrafficPoint]:
        """Return the newest point of every deployment that was counted last."""
        with self._lock:
            oldest = self._at - 2 * STEP_S
            found = {name: series.fine.last() for name, series in self._series.items()}
        return {
            name: last[1] for name, last in found.items() if last is not None and last[0] >= oldest
        }

    def latest_of_revisions(self, name: str) -> dict[int, TrafficPoint]:
        """Return the newest point of every revision of a deployment that is routed."""
        with self._lock:
            series = self._series.get(name)
            rings = dict(series.revisions) if series else {}
            newest = _last_at(series.fine) if series else math.inf
            found = {number: ring.last() for number, ring in rings.items()}
        return {n: last[1] for n, last in found.items() if last is not None and last[0] >= newest}

    def recent_rates(self, points: int) -> dict[str, list[float]]:
        """Return the last requests per second of every deployment, for small charts."""
        with self._lock:
            return {
                name: list(series.fine.column("requests_per_s", points))
                for name, series in self._series.items()
            }

    def window(
        self,
        name: str,
        *,
        since: float = -math.inf,
        revision: int | None = None,
        long: bool = False,
    ) -> Window:
        """Return what is known of a deployment, or of one of its revisions.

        Args:
            name: the deployment.
            since: only steps that began later.
            revision: one revision's, which has fine steps alone.
            long: a day of minutes, in place of the last 15 minutes.
        """
        with self._lock:
            series = self._series.get(name)
            ring = _ring(series, revision, long=long) if series else None
            found = list(ring.points(since)) if ring else []
        return Window(
            step_s=_LONG_STEP_S if long else STEP_S,
            at=[at for at, _ in found],
            columns={
                name: [_or_none(getattr(point, name)) for _, point in found] for name in FIELDS
            },
        )

    def _rates(self, counted: Counted, at: float) -> dict[str, dict[int, TrafficPoint]]:
        rates: dict[str, dict[int, TrafficPoint]] = {}
        for traffic in counted.traffic:
            key = (traffic.deployment, traffic.revision)
            totals = _Totals(at, traffic.requests, traffic.errors)
            point = rate_point(traffic, self._before.get(key), at)
            self._before[key] = totals
            rates.setdefault(key[0], {})[key[1]] = replace(
                point, batch_rows=counted.batch_rows.get(key, NOTHING)
            )
        for (name, number), ready in counted.replicas.items():
            of_deployment = rates.setdefault(name, {})
            of_deployment[number] = replace(of_deployment.get(number, EMPTY), replicas=float(ready))
        return rates

    def _forget(self, at: float) -> None:
        oldest = at - _FORGOTTEN_AFTER_S
        self._before = {k: totals for k, totals in self._before.items() if totals.at > oldest}
        # A deployment keeps its day, then goes: it may be one that was only stopped for a while.
        self._series = {
            name: series
            for name, series in self._series.items()
            if _last_at(series.fine) > at - _LONG_STEP_S * _LONG_STEPS
        }


def rate_point(traffic: RevisionTraffic, before: _Totals | None, at: float) -> TrafficPoint:
    """Return the rates since the counters that were seen before; a router that began anew counts
    from nothing, and the first counters that are seen have no rate yet."""
    requests, errors, elapsed_s = 0, 0, STEP_S
    if before is not None and at > before.at:
        began_anew = traffic.requests < before.requests
        requests = traffic.requests - (0 if began_anew else before.requests)
        errors = max(0, traffic.errors - (0 if began_anew else before.errors))
        elapsed_s = at - before.at
    quiet = not requests
    return TrafficPoint(
        requests_per_s=requests / elapsed_s,
        errors_per_s=errors / elapsed_s,
        p50_ms=NOTHING if quiet else traffic.latency_ms.get("p50", NOTHING),
        p95_ms=NOTHING if quiet else traffic.latency_ms.get("p95", NOTHING),
        p99_ms=NOTHING if quiet else traffic.latency_ms.get("p99", NOTHING),
        in_flight=float(traffic.in_flight),
    )


def _ring(series: _DeploymentSeries, revision: int | None, *, long: bool) -> TrafficRing | None:
    if revision is not None:
        return series.revisions.get(revision)
    return series.long if long else series.fine


def _last_at(ring: TrafficRing) -> float:
    last = ring.last()
    return -math.inf if last is None else last[0]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
