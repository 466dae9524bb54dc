"""Clusters: the replicas that requests of one revision are spread over.

A cluster is never changed: its name has a digest of all that it is, so a revision with other
replicas is another cluster. Routes move to it in one step, and the one before keeps the requests
that it has, each with its replica, where they can be counted, until it is idle.

Clusters read by subscription (EDS) would each take one of the user's few inotify instances, and
Envoy ends when there is none left: see ADR 0019.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from dosirak.deployment.router.resources import Resource, metadata, seconds, typed
from dosirak.deployment.router.settings import RouterSettings
from dosirak.deployment.routing import (
    RoutedDeployment,
    RoutedRevision,
    RoutingTable,
    Upstream,
)

# Shorter than the time after which replicas close idle connections (75 s), so that no request is
# written to a connection that is being closed.
UPSTREAM_IDLE_S = 30.0
_CONNECT_TIMEOUT_S = 1.0
_BUFFER_BYTES = 1 << 20
_CLUSTER = "envoy.config.cluster.v3.Cluster"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True, slots=True)
class RevisionName:
    """A revision as stats and clusters name it."""

    deployment: str
    revision: int

    def __str__(self) -> str:
        return f"{self.deployment}@{self.revision}"

    @classmethod
    def of_cluster(cls, name: str) -> RevisionName | None:
        """Read a cluster's name; None where it is not one of ours."""
        deployment, at, rest = name.partition("@")
        number = rest.partition("~")[0]
        return cls(deployment, int(number)) if at and number.isdecimal() else None


def clusters(table: RoutingTable, settings: RouterSettings) -> dict[str, Resource]:
    """Return every cluster of a table by its name."""
    return dict(
        pair
        for deployment in table.deployments
        for revision in deployment.revisions
        if revision.upstreams
        for pair in _of_revision(deployment, revision, settings)
    )


def cluster_name(
    deployment: RoutedDeployment,
    revision: RoutedRevision,
    settings: RouterSettings,
    *,
    grpc: bool = False,
) -> str:
    """Return the name of a revision's cluster."""
    return _cluster(deployment, revision, settings, grpc)["name"]


def _of_revision(
    deployment: RoutedDeployment, revision: RoutedRevision, settings: RouterSettings
) -> Iterator[tuple[str, Resource]]:
    for grpc in (False, True) if revision.speaks_http2 else (False,):
        cluster = _cluster(deployment, revision, settings, grpc)
        yield cluster["name"], cluster


def _cluster(
    deployment: RoutedDeployment, revision: RoutedRevision, settings: RouterSettings, grpc: bool
) -> Resource:
    stats = RevisionName(deployment.name, revision.number)
    body = typed(
        _CLUSTER,
        type="STATIC",
        alt_stat_name=str(stats),
        connect_timeout=seconds(_CONNECT_TIMEOUT_S),
        per_connection_buffer_limit_bytes=_BUFFER_BYTES,
        lb_policy="LEAST_REQUEST",
        # With no replica that seems well, each is tried: better than to refuse by a guess.
        common_lb_config={"healthy_panic_threshold": {"value": 1}},
        load_assignment=_endpoints(str(stats), revision.upstreams),
        circuit_breakers=_limits(deployment.max_requests),
        outlier_detection=_OUTLIERS,
        typed_extension_protocol_options={_OPTIONS: _protocol(grpc)},
        metadata=metadata(deployment=deployment.name, revision=str(revision.number)),
        **_health(settings, grpc),
    )
    digest = hashlib.sha256(msgspec.json.encode(body)).hexdigest()[:12]
    return {**body, "name": f"{stats}~{digest}"}


def _endpoints(name: str, upstreams: tuple[Upstream, ...]) -> Resource:
    ordered = sorted(upstreams, key=lambda upstream: upstream.replica)
    endpoints = [
        {"endpoint": {"hostname": upstream.replica, "address": _address(upstream)}}
        for upstream in ordered
    ]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def _address(upstream: Upstream) -> Resource:
    if upstream.socket_path:
        return {"pipe": {"path": upstream.socket_path}}
    return {"socket_address": {"address": upstream.host, "port_value": upstream.port}}


def _limits(max_requests: int) -> Resource:
    # More connections than requests, or requests would wait for one instead of being refused.
    return {
        "thresholds": [
            {
                "max_requests": max_requests,
                "max_connections": 2 * max_requests,
                "max_pending_requests": max_requests,
                # A replica that ends takes all of its requests with it, at once: those may be
                # repeated. Beyond them, one in five.
                "retry_budget": {
                    "budget_percent": {"value": 20},
                    "min_retry_concurrency": 256,
                },
            }
        ]
    }


_OUTLIERS: Resource = {
    "split_external_local_origin_errors": True,
    # What a service answers is no reason to leave a replica; that it cannot be reached is.
    "consecutive_5xx": 0,
    "enforcing_consecutive_5xx": 0,
    "enforcing_success_rate": 0,
    "enforcing_local_origin_success_rate": 0,
    "enforcing_consecutive_gateway_failure": 0,
    "consecutive_local_origin_failure": 3,
    "enforcing_consecutive_local_origin_failure": 100,
    "interval": "0.250s",
    "base_ejection_time": "1s",
    "max_ejection_time": "10s",
    "max_ejection_percent": 100,
}


def _protocol(grpc: bool) -> Resource:
    spoken = {"http2_protocol_options": {}} if grpc else {"http_protocol_options": {}}
    return typed(
        _OPTIONS,
        common_http_protocol_options={"idle_timeout": seconds(UPSTREAM_IDLE_S)},
        explicit_http_config=spoken,
    )


def _health(settings: RouterSettings, grpc: bool) -> Resource:
    if not settings.health_path or grpc:
        return {}
    check = {
        "timeout": seconds(settings.health_timeout_s),
        "interval": seconds(settings.health_interval_s),
        "no_traffic_interval": seconds(max(1.0, settings.health_interval_s)),
        "no_traffic_healthy_interval": seconds(max(1.0, settings.health_interval_s)),
        "unhealthy_threshold": 1,
        "healthy_threshold": 1,
        # Any answer is a sign of life; whether it is ready is the controller's to see.
        "http_health_check": {
            "host": "localhost",
            "path": settings.health_path,
            "expected_statuses": [{"start": 200, "end": 500}],
        },
    }
    return {"health_checks": [check]}


__all__ = ["UPSTREAM_IDLE_S", "RevisionName", "cluster_name", "clusters"]
