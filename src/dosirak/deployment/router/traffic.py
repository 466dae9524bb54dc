"""What Envoy counted, as the project's own figures.

Names of counters are made from the revisions that are known and looked up whole; none is taken
apart, for deployments may have dots in their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dosirak.deployment.router.clusters import RevisionName
from dosirak.deployment.routing import RevisionTraffic

COUNTERS = r"^cluster\..*\.upstream_rq_(completed|5xx|active)$"
TIMES = r"^cluster\..*\.upstream_rq_time$"
_QUANTILES = {50.0: "p50", 95.0: "p95", 99.0: "p99"}


def traffic_of(
    revisions: Iterable[RevisionName], counted: Mapping[str, Any], times: Mapping[str, Any]
) -> tuple[RevisionTraffic, ...]:
    """Return the figures of revisions, from `Admin.stats` and `Admin.quantiles`."""
    latencies = _latencies(times)
    return tuple(
        _of(name, counted, latencies)
        for name in sorted(revisions, key=lambda name: (name.deployment, name.revision))
    )


def _of(
    name: RevisionName, counted: Mapping[str, Any], latencies: Mapping[str, dict[str, float]]
) -> RevisionTraffic:
    start = f"cluster.{name}.upstream_rq"
    return RevisionTraffic(
        deployment=name.deployment,
        revision=name.revision,
        requests=int(counted.get(f"{start}_completed", 0)),
        errors=int(counted.get(f"{start}_5xx", 0)),
        in_flight=int(counted.get(f"{start}_active", 0)),
        latency_ms=latencies.get(f"{start}_time", {}),
    )


def _latencies(times: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    places: list[float] = [float(quantile) for quantile in times.get("supported_quantiles", [])]
    return {
        str(one["name"]): _quantiles(places, one["values"])
        for one in times.get("computed_quantiles", [])
    }


def _quantiles(places: list[float], values: list[dict[str, Any]]) -> dict[str, float]:
    found = {
        _QUANTILES[place]: value["interval"]
        for place, value in zip(places, values, strict=False)
        if place in _QUANTILES
    }
    return {name: float(value) for name, value in found.items() if value is not None}
