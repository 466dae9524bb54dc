from __future__ import annotations

from dosirak.deployment.router.clusters import RevisionName
from dosirak.deployment.router.traffic import traffic_of
from dosirak.deployment.routing import RevisionTraffic

_TIMES = {
    "supported_quantiles": [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100],
    "computed_quantiles": [
        {
            "name": "cluster.a@1.upstream_rq_time",
            "values": [{"interval": float(n), "cumulative": 0.0} for n in range(10)],
        },
        {
            "name": "cluster.a@2.upstream_rq_time",
            "values": [{"interval": None, "cumulative": 1.0}] * 10,
        },
    ],
}


def test_counters_are_those_of_the_revision_that_is_named() -> None:
    counted = {
        "cluster.a@1.upstream_rq_completed": 5,
        "cluster.a@1.upstream_rq_5xx": 2,
        "cluster.a@1.upstream_rq_active": 1,
        "cluster.a@11.upstream_rq_completed": 7,
        "cluster.b.a@1.upstream_rq_completed": 9,
    }
    known = {RevisionName("a", 1), RevisionName("a", 2), RevisionName("b.a", 1)}
    assert traffic_of(known, counted, _TIMES) == (
        RevisionTraffic("a", 1, 5, 2, 1, {"p50": 2.0, "p95": 5.0, "p99": 6.0}),
        RevisionTraffic("a", 2, 0, 0, 0, {}),
        RevisionTraffic("b.a", 1, 9, 0, 0, {}),
    )


def test_nothing_counted_yet_is_nothing() -> None:
    assert traffic_of([], {}, {}) == ()
    [none] = traffic_of([RevisionName("a", 1)], {}, {})
    assert (none.requests, none.latency_ms) == (0, {})
